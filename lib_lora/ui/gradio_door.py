"""The addresses that gradio adds to the studio's app: what they may serve, and what a page may hand them."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lib_lora.web.guard.senders import headers_of
from lib_lora.web.served import page_file

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

API = "gradio_api/"
"""What gradio 6 has before the addresses below a page that are no files of the page itself."""
FILES = ("file=", "file/")
USED = re.compile(
    r"|config/?|theme\.css|favicon\.ico|manifest\.json|(assets|static|svelte)/.*|info/?|startup-events"
    r"|heartbeat/\w+|queue/(join|data)|(run|api)/predict/?|upload|upload_progress|cancel|reset/?"
)
"""What a page asks gradio for. It answers much more: it fetches from other servers, keeps a log of runs, edits its own
source, takes records of the screen, and each version adds to that."""

FETCHED = "a file of a page is one that was dropped into it, never an address"
FOREIGN = "a file of a page is one that was dropped into it"
NESTED = "too deeply nested"


class GradioDoor:
    """Stands before the pages that gradio has mounted.

    Args:
        app: the ASGI app with the pages.
        pages: where they are mounted, such as ``/en``.
        uploads: where gradio keeps what was dropped, and copies of what a page shows.
    """

    def __init__(self, app: Any, *, pages: Sequence[str], uploads: Path) -> None:
        self.app = app
        self.pages, self.uploads = [f"{page}/" for page in pages], uploads.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request for a page through, or answer it here."""
        inner = self._inner(scope)
        if inner is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.app(scope, self._only_good(scope, receive), send)
        elif inner.startswith(FILES):
            await self._file(scope, inner)(scope, receive, send)
        elif not USED.fullmatch(inner):
            await Response(status_code=404)(scope, receive, send)
        elif scope["method"] == "POST" and not _is_form(scope):
            await self._event(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _inner(self, scope: Scope) -> str | None:
        """Return a request's path below its page, None where it is for none."""
        if scope["type"] not in ("http", "websocket"):
            return None
        path = scope["path"]
        inner = next((path[len(page) :].lstrip("/") for page in self.pages if path.startswith(page)), None)
        return inner.removeprefix(API).lstrip("/") if inner is not None else None

    def _file(self, scope: Scope, inner: str) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return Response(status_code=405)
        return page_file(self.uploads, inner[len(FILES[0]) :], headers_of(scope).get("range", ""))

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read an event of a page whole, and hand it on where all its files are uploads."""
        body = await Request(scope, receive).body()
        refusal = self._refusal(body, headers_of(scope).get("host", ""))
        if refusal:
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)
            return
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return given.pop() if given else await receive()

        await self.app(scope, again, send)

    def _only_good(self, scope: Scope, receive: Receive) -> Receive:
        """Return a `receive` for an event of gradio 3, which ends where one of its files is no upload."""

        async def receiving() -> Any:
            message = await receive()
            text = message.get("text") or message.get("bytes") or b""
            if self._refusal(text, headers_of(scope).get("host", "")):
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        return receiving

    def _refusal(self, body: bytes | str, host: str) -> str:
        """Return why an event is refused, "" where it is good; what is no JSON is gradio's to refuse."""
        try:
            files = list(_files(json.loads(body))) if body else []
        except RecursionError:
            return NESTED
        except ValueError:
            return ""
        for file in files:
            for key, text in file.items():
                if key == "url" and _is_own(text, host):
                    continue
                if "://" in text or text.startswith("//"):
                    return FETCHED
                if key != "url" and not self._is_upload(text):
                    return FOREIGN
        return ""

    def _is_upload(self, path: str) -> bool:
        try:
            return Path(path).resolve().is_relative_to(self.uploads)
        except (OSError, ValueError):
            return False


def _is_form(scope: Scope) -> bool:
    return headers_of(scope).get("content-type", "").lower().startswith("multipart/form-data")


def _files(value: Any) -> Iterator[dict[str, str]]:
    """Yield what gradio would take for a file: path and address of version 4, name of version 3."""
    if isinstance(value, list):
        for each in value:
            yield from _files(each)
    elif isinstance(value, dict):
        told = {key: text for key in ("path", "url") if isinstance(text := value.get(key), str)}
        if value.get("is_file") and isinstance(value.get("name"), str):
            told["name"] = value["name"]
        if "path" in told or "name" in told:
            yield told
        for each in value.values():
            yield from _files(each)


def _is_own(url: str, host: str) -> bool:
    """Whether an address is one of this server's: gradio hands it out with each upload and does not read it again."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.netloc in ("", host) and parts.scheme in ("", "http", "https") and not url.startswith("//")

"""Who may speak to the server: a name and password where they are asked for, and no foreign web page, ever."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

Scope, Receive, Send = dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]

REASONS = {401: b"name and password, please", 403: b"not from this address", 413: b"too much at once"}
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
# The page lives from its own server alone: nothing is fetched from, or told to, anybody else.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' ws: data: blob:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)


class Guard:
    """Wraps the whole app, so that no route, of gradio's or ours, is reached around it.

    Args:
        app: the ASGI app.
        user: name that is asked for (HTTP Basic), "" for none.
        password: its password.
        local_only: the server listens on the loopback address. Then only its own names are answered: a foreign site
            whose name was pointed at 127.0.0.1 gets nothing (DNS rebinding).
        body_limit: bytes that one request may bring, all its files together; gradio 3 would take any number.
    """

    def __init__(
        self, app: Any, *, user: str = "", password: str = "", local_only: bool = True, body_limit: int = 2**31
    ) -> None:
        self.app, self.local_only, self.body_limit = app, local_only, body_limit
        self.secret = f"{user}:{password}".encode() if user else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status, extra = self.verdict(headers)
        if status == 200:
            await self.app(scope, self._counted(receive), self._with_policy(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers_out = [(b"content-type", b"text/plain"), *extra]
            await send({"type": "http.response.start", "status": status, "headers": headers_out})
            await send({"type": "http.response.body", "body": REASONS[status]})

    def verdict(self, headers: dict[str, str]) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Return the status for a request's headers (lower case), 200 to let it pass, and headers for the answer."""
        host = headers.get("host", "")
        if self.local_only and host_name(f"//{host}") not in LOCAL_NAMES:
            return 403, []
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, []
        if self.secret and not self._knows(headers.get("authorization", "")):
            return 401, [(b"www-authenticate", b'Basic realm="LoRA Atelier", charset="UTF-8"')]
        length = headers.get("content-length", "0")
        return (200 if length.isdecimal() and int(length) <= self.body_limit else 413), []

    def _knows(self, authorization: str) -> bool:
        kind, _, code = authorization.partition(" ")
        try:
            given = base64.b64decode(code, validate=True)
        except (binascii.Error, ValueError):
            return False
        return kind.lower() == "basic" and hmac.compare_digest(given, self.secret)

    def _counted(self, receive: Receive) -> Receive:
        """End a request that brings more than it may without having said so before."""
        come = 0

        async def receiving() -> Any:
            nonlocal come
            message = await receive()
            come += len(message.get("body") or b"")
            return message if come <= self.body_limit else {"type": "http.disconnect"}

        return receiving

    def _with_policy(self, send: Send) -> Send:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                if not any(name.lower() == b"content-security-policy" for name, _ in headers):
                    headers.append((b"content-security-policy", POLICY.encode()))
                message = {**message, "headers": headers}
            await send(message)

        return sending


def host_name(address: str) -> str:
    """Return the host's name in an address, without port and brackets; "" where it cannot be read."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""

"""Files as answers: only what is meant to be shown, and nothing in them may run in our page's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi.responses import FileResponse, Response

SHOWN = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "text/plain; charset=utf-8",
    ".safetensors": "application/octet-stream",
}
"""The kinds of files that our folders serve; anything else in them is nobody's business."""

PICTURES = {
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    **{ending: kind for ending, kind in SHOWN.items() if kind.startswith("image/")},
}
"""The kinds that a page shows of what was dropped into it; anything else is offered for saving."""

# A report shows its own pictures and styles and runs nothing, whoever wrote it.
STILL = "sandbox; default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'"

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Accept-Ranges": "none",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": STILL,
    "Cross-Origin-Resource-Policy": "same-origin",
}

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


def served_file(folder: Path | None, inner: str, wanted: str = "") -> Response:
    """Return a file under ``folder`` as a response; 404 for what is missing, hidden, outside, or of another kind.

    Args:
        folder: resolved; None for a folder that is not served.
        inner: path below it, as it stands in the address.
        wanted: the ``Range`` header.
    """
    if folder is None or "\0" in inner or _is_hidden(Path(inner)):
        return Response(status_code=404)
    path = (folder / inner).resolve()
    kind = SHOWN.get(path.suffix.lower())
    if kind is None or not path.is_relative_to(folder) or not path.is_file():
        return Response(status_code=404)
    return _whole(path, wanted, media_type=kind, headers=SAFE)


def page_file(uploads: Path, text: str, wanted: str = "") -> Response:
    """Return what gradio's ``/file=PATH`` asks for: an upload, or a copy of what a page shows. 404 for all else.

    Args:
        uploads: gradio's folder for them; no link in it is followed.
        text: the path, as it stands in the address.
        wanted: the ``Range`` header.
    """
    if "\0" in text:
        return Response(status_code=404)
    path, root = Path(text), uploads.resolve()
    inside = next((path.relative_to(one) for one in (uploads, root) if path.is_relative_to(one)), None)
    if inside is None or _is_hidden(inside):
        return Response(status_code=404)
    path = root / inside
    if path.resolve() != path or not path.is_file():
        return Response(status_code=404)
    kind = PICTURES.get(path.suffix.lower())
    if kind is not None:
        return _whole(path, wanted, media_type=kind, headers=SAFE)
    return _whole(path, wanted, media_type="application/octet-stream", headers=SAFE, filename=path.name)


def _is_hidden(inner: Path) -> bool:
    return any(part.startswith(".") for part in inner.parts)


class _WholeFile(FileResponse):
    """A file that is sent whole, also where this Starlette would look for a range itself."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        headers = [header for header in scope["headers"] if header[0].lower() != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def _whole(path: Path, wanted: str, **more: object) -> Response:
    """Return a file whole, whatever part of it is wanted; 416 where it has no such part."""
    size, part = path.stat().st_size, _RANGE.fullmatch(wanted)
    if part is not None:
        first, last = part.groups()
        beyond = last.strip("0") == "" != last if not first else len(first) > 18 or int(first) >= size
        if beyond:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    return _WholeFile(path, **more)

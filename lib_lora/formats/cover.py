"""The cover picture inside a LoRA file: a small JPEG where the model spec and the WebUI look for it."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping

from PIL import Image

from lib_lora.errors import FileError
from lib_lora.picture_file import open_picture

SIDE = 384
"""Longest side of a cover in pixels; with it a cover takes some 30 kB of the header."""

THUMBNAIL, COVERS = "modelspec.thumbnail", "ssmd_cover_images"
_LIMIT = 8 * 2**20
_PIXELS = 16_000_000
_URL = "data:image/jpeg;base64,"


def with_cover(metadata: Mapping[str, str], picture: Image.Image) -> dict[str, str]:
    """Return metadata with ``picture``, made small, under both keys that programs read."""
    stream = io.BytesIO()
    small_cover(picture).save(stream, "JPEG", quality=88, optimize=True)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return {**metadata, THUMBNAIL: _URL + text, COVERS: json.dumps([text])}


def small_cover(picture: Image.Image) -> Image.Image:
    """Return a picture at the size of a cover, RGB."""
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small


def without_cover(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata without a cover."""
    return {key: value for key, value in metadata.items() if key not in (THUMBNAIL, COVERS)}


def read_cover(metadata: Mapping[str, str]) -> Image.Image | None:
    """Return the cover in a file's metadata, or None where there is none that can be shown."""
    for text in (metadata.get(THUMBNAIL, "").partition(",")[2], _first(metadata.get(COVERS, ""))):
        picture = _decoded(text)
        if picture is not None:
            return picture
    return None


def _first(text: str) -> str:
    try:
        covers = json.loads(text) if text and len(text) < _LIMIT else []
    except (ValueError, RecursionError):
        return ""
    return covers[0] if isinstance(covers, list) and covers and isinstance(covers[0], str) else ""


def _decoded(text: str) -> Image.Image | None:
    """Return a stranger's base64 picture, at the size of a cover; None where it is none, or is suspiciously large."""
    if not text or len(text) > _LIMIT:
        return None
    try:
        file = io.BytesIO(base64.b64decode(text, validate=True))
        with open_picture(file, kinds=("PNG", "JPEG", "WEBP"), max_pixels=_PIXELS) as picture:
            picture.thumbnail((SIDE, SIDE))
            return picture.convert("RGB")
    except (binascii.Error, ValueError, FileError):
        return None

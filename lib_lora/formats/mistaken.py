"""What a file is that should be a safetensors file and is none, told from its first bytes."""

from __future__ import annotations

from lib_lora.errors import FileError
from lib_lora.sentences import say

START = 512
"""Bytes that are enough to tell."""

ZIP, PICKLED = b"PK\x03\x04", (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

_PACKED = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "RAR", b"\x1f\x8b": "gzip"}
_PAGE = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<script", b"<!--")
_PICTURE = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


def mistaken(start: bytes, *, where: str) -> FileError | None:
    """Return the error that says what a file is by its first bytes, with the cure, or None where nothing tells it."""
    if not start:
        return FileError("The file is empty", where=where, cure="Download or copy the file again.")
    if len(start) > 8 and not any(start):
        what = say("The file begins with nothing but zeros: it was not written to its end")
        return FileError(what, where=where, cure="Download or copy the file again.")
    if start.startswith(ZIP):
        cure = say("If it is a PyTorch file, give its name the ending .pt; if it is a zip archive, unpack it.")
        return FileError("This is a PyTorch file or a zip archive, not a safetensors file", where=where, cure=cure)
    if start.startswith(PICKLED):
        cure = say("Use a .safetensors file of this LoRA.")
        return FileError("This is a pickle, which can run programs", where=where, cure=cure)
    for magic, name in _PACKED.items():
        if start.startswith(magic):
            return FileError(
                "This is a {kind} archive, not a safetensors file", kind=name, where=where, cure="Unpack it."
            )
    if start.startswith(_PICTURE):
        return FileError("This is a picture, not a LoRA", where=where, cure="Choose the .safetensors file beside it.")
    return _mistaken_text(start, where=where)


def _mistaken_text(start: bytes, *, where: str) -> FileError | None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        what, cure = (
            say("This is a Git LFS pointer, not the file itself"),
            say("Download the file itself (git lfs pull)."),
        )
        return FileError(what, where=where, cure=cure)
    if text.startswith(_PAGE):
        cure = say("Download the file itself: sign in at the site, then use its download button.")
        return FileError("This is a web page, not the file itself", where=where, cure=cure)
    if text.startswith((b"{", b"[")) and b"\0" not in start:
        cure = say("Download the file itself; the text may say why it was not sent.")
        return FileError("This is a text (JSON), not the file itself", where=where, cure=cure)
    return None

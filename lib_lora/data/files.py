"""What is known of a file before it is opened as a picture or caption: its printable name, digest, and kind."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lib_lora.errors import FileError
from lib_lora.sentences import Sentence, say

PICTURE_SUFFIXES = frozenset(
    (".png", ".apng", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".gif", ".bmp", ".dib")
    + (".tif", ".tiff", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".tga", ".qoi")
)
CAPTION_SUFFIXES = (".txt", ".caption")  # the first found counts; the first listed is the one that is written

_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used: which one, what is wrong with it, what to do."""

    path: Path
    what: Sentence
    cure: Sentence

    @property
    def sentence(self) -> Sentence:
        """The problem as one line."""
        return say("{file}: {what}. {cure}", file=shown(self.path), what=self.what, cure=self.cure)

    def __str__(self) -> str:
        return str(self.sentence)


def shown(path: str | os.PathLike[str]) -> str:
    """Return the path as text of one line that can always be printed.

    Bytes that are not UTF-8, line breaks, and signs that steer a terminal or the writing's direction appear as escapes.
    """
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits; raises FileError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def unreadable(path: Path, error: OSError) -> FileError:
    """Return the error for a file that the system does not let us read."""
    return FileError(
        "The file cannot be read ({reason})",
        reason=error,
        where=shown(path),
        cure="Check that it is there and allowed.",
    )

"""Preset files on disk: read as UTF-8, written atomically with rotating backups."""

from __future__ import annotations

from pathlib import Path

from lib_lora.atomic import BACKUPS, back_up, cure_of, replace_file
from lib_lora.errors import FileError


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        FileError: missing, unreadable, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError("The file is not UTF-8 text", where=str(path), cure="Save it as UTF-8.") from error
    except OSError as error:
        raise FileError("The file cannot be read ({reason})", reason=error, where=str(path)) from error


def write_text(path: Path, text: str, *, backups: int = BACKUPS) -> None:
    """Replace a file so that at every moment the old or the new content is there; keep the last old contents.

    Raises:
        FileError: the text is no Unicode, or the folder or the disk refuses; the old file is then still whole.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FileError("The text has characters that UTF-8 cannot write", where=str(path)) from error
    try:
        if backups > 0 and path.exists() and path.read_bytes() != data:
            back_up(path, keep=backups)
    except OSError as error:
        raise FileError(
            "The backup cannot be written ({reason})", reason=error, where=str(path), cure=cure_of(error)
        ) from error
    replace_file(path, data)

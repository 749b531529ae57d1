"""Preset files on disk: read as UTF-8, written atomically with rotating backups."""

from __future__ import annotations

import os
from pathlib import Path

from lib_lora.atomic import cure_of, replace_file, replacing
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


def backup_path(path: Path, number: int) -> Path:
    """Return where the backup of that age lies; 1 is the newest."""
    return path.with_name(f"{path.name}.bak{number}")


def write_text(path: Path, text: str, *, backups: int = 3) -> None:
    """Replace a file so that at every moment the old or the new content is there; keep the last old contents.

    Raises:
        FileError: the text is no Unicode, or the folder or the disk refuses; the old file is then still whole.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FileError("The text has characters that UTF-8 cannot write", where=str(path)) from error
    try:
        if path.exists() and path.read_bytes() != data:
            _rotate(path, backups)
    except OSError as error:
        raise FileError(
            "The backup cannot be written ({reason})", reason=error, where=str(path), cure=cure_of(error)
        ) from error
    replace_file(path, data)


def _rotate(path: Path, backups: int) -> None:
    for number in range(backups, 1, -1):
        newer = backup_path(path, number - 1)
        if newer.exists():
            os.replace(newer, backup_path(path, number))
    if backups > 0:
        with replacing(backup_path(path, 1)) as copy:
            copy.write(path.read_bytes())

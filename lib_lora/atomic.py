"""Writing a small file so that at every moment the old or the new content is there, whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from lib_lora.errors import FileError


def replace_file(path: Path, data: bytes, *, what: str = "the file") -> Path:
    """Write ``data`` beside ``path``, flush it to the disk, and give it the name; links are followed, modes kept.

    Args:
        path: the target; its folder must exist.
        data: the whole new content.
        what: what the file is, for the error.

    Raises:
        FileError: the folder or the disk refuses; an old file is then still whole.
    """
    target = path.resolve() if path.is_symlink() else path
    part = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                part.chmod(target.stat().st_mode)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        cure = "Check the folder's permissions and the free space."
        raise FileError(f"{what} cannot be written ({reason})", where=str(path), cure=cure) from error
    return path

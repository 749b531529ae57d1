"""One studio for each data folder: two would start the same runs and overwrite each other's settings."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lib_lora.atomic import private_folder
from lib_lora.errors import FileError, InputError

NAME = "studio.lock"
_BYTE = 2**30
"""Windows lets nobody read a locked byte: the one that is locked lies far behind what the file says."""

logger = logging.getLogger(__name__)


@contextmanager
def hold(folder: Path, *, address: str) -> Iterator[None]:
    """Keep ``folder`` for this process while the context lasts; ``address`` is told to whoever wants it too.

    The system's own lock on an open file: it ends with the process, however that ends, so nothing is left behind.

    Raises:
        InputError: another process has the folder; FileError: it cannot be written.
    """
    path = folder / NAME
    try:
        private_folder(folder)
        file = open(path, "a+b")  # noqa: SIM115 (it stays open as long as the lock is held)
    except OSError as error:
        raise FileError(f"The data folder cannot be written ({error.strerror})", where=str(folder)) from error
    with file:
        if not _locked(file):
            raise InputError("Another studio uses this data folder", where=str(folder), cure=_cure(file))
        _write(file, {"pid": os.getpid(), "address": address})
        try:
            yield
        finally:
            _write(file, None)


def _locked(file: IO[bytes]) -> bool:
    """Take the system's lock; False where another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # a network disk that knows no locks: better unguarded than not at all
        logger.warning("%s cannot be locked (%s): start only one studio on this folder", file.name, error.strerror)
    return True


def _cure(file: IO[bytes]) -> str:
    """Say who has the folder, as far as the file tells it."""
    try:
        file.seek(0)
        known = json.loads(file.read())
        return f"Use it at {known['address']} (process {int(known['pid'])}), or give another folder with --data."
    except (OSError, ValueError, KeyError, TypeError):
        return "Use the one that is open, or give another folder with --data."


def _write(file: IO[bytes], known: dict[str, object] | None) -> None:
    """Put what is known of the holder into the file; it only helps people, so a full disk does not matter."""
    try:
        file.seek(0)
        file.truncate()
        file.write(b"" if known is None else json.dumps(known).encode())
        file.flush()
    except OSError as error:
        logger.info("%s says nothing: %s", file.name, error)

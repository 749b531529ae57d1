"""One studio for each data folder: two would start the same runs and overwrite each other's settings."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lib_lora.atomic import private_folder
from lib_lora.errors import FileError, InputError
from lib_lora.sentences import Sentence, say

NAME = "studio.lock"
HOLDER = "studio.json"
"""Who has the folder. Not in the lock's file: an older filelock empties that even where it does not get it."""

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
        path.touch()
    except OSError as error:
        raise FileError("The data folder cannot be written ({error})", error=error, where=str(folder)) from error
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        where, cure = str(folder), _cure(folder)
        raise InputError("Another studio uses this data folder", where=where, cure=cure, option="data") from error
    except (OSError, NotImplementedError) as error:  # a network disk without locks: better unguarded than not at all
        logger.warning("%s cannot be locked (%s): start only one studio on this folder", path, error)
    _note(folder, {"pid": os.getpid(), "address": address})
    try:
        yield
    finally:
        _note(folder, None)
        lock.release()


def _cure(folder: Path) -> Sentence:
    """Say who has the folder, as far as it tells."""
    try:
        known = json.loads((folder / HOLDER).read_bytes())
        return say(
            "Use it at {address} (process {pid}), or start with another data folder.",
            address=known["address"],
            pid=int(known["pid"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return say("Use the one that is open, or start with another data folder.")


def _note(folder: Path, known: dict[str, object] | None) -> None:
    """Note who has the folder; it only helps people, so a full disk does not matter."""
    try:
        if known is None:
            (folder / HOLDER).unlink(missing_ok=True)
        else:
            (folder / HOLDER).write_text(json.dumps(known), encoding="utf-8")
    except OSError as error:
        logger.info("%s says nothing: %s", folder / HOLDER, error)

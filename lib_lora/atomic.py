"""Writing files: at every moment the old or the new content is there, whole; and what to say if the disk refuses.

A file is written beside its place under a name of ours and renamed. Whoever writes holds the system's lock on it, so
what a killed process left can be told from a save that is under way; the next save in that folder removes it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lib_lora.errors import FileError
from lib_lora.sentences import Sentence, say

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says when a disk, or what somebody may use of it, is full."""
UNFINISHED = re.compile(r"\.(atelier-)?[0-9a-f]{16}\.(tmp|new)")
"""Names of unfinished files, ours alone; `.new` are whole ones that were about to take a file's place."""
NEW = ".new"
"""Ending of a whole file that is about to take another's place: no program lists it."""
OLD = 3600.0
"""Seconds after which an unfinished file belongs to nobody, where the system has no locks that tell."""
BACKUPS = 3
"""Earlier states of a file that are kept beside it, the newest as ``.bak1``."""
FILE = say("The file")
_PAUSE = 1.0
"""Seconds in which a folder is not searched again: thousands of captions are saved one after another."""

_searched: dict[Path, float] = {}
logger = logging.getLogger(__name__)


def replace_file(path: Path, data: bytes, *, what: Sentence = FILE, private: bool = False) -> Path:
    """Write ``data`` beside ``path``, flush it to the disk, and give it the name; links are followed, modes kept.

    Args:
        path: the target; its folder must exist.
        data: the whole new content.
        what: what the file is, for the error.
        private: it holds prompts or folders of its owner: nobody else on the machine may read it.

    Raises:
        FileError: the folder or the disk refuses; an old file is then still whole.
    """
    try:
        with replacing(path, private=private) as file:
            file.write(data)
    except OSError as error:
        raise FileError(
            "{noun} cannot be written ({reason})",
            noun=what,
            reason=error,
            where=str(path),
            cure=cure_of(error),
        ) from error
    return path


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, unless it is there, and return it.

    Raises:
        FileError: the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise folder_error(error, folder) from error
    return folder


def folder_error(error: OSError, folder: Path) -> FileError:
    """Return what a person reads of a folder that could not be made."""
    what = say("The folder cannot be made ({reason})", reason=error)
    return FileError(what, where=str(folder), cure=cure_of(error))


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of ``path`` when the block ends well, and leaves nothing when it does not.

    Raises:
        OSError: the folder or the disk refuses; an old file is then still whole.
    """
    target = path.resolve() if path.is_symlink() else path
    remove_unfinished(target.parent)
    part = target.with_name(f".atelier-{secrets.token_hex(8)}.tmp")
    try:
        with open(part, "xb", opener=_for_its_owner if private else None) as file:
            _claim(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if target.exists() and not private:
                part.chmod(target.stat().st_mode)
            if os.name == "posix":  # still claimed: nobody takes it for a leftover
                os.replace(part, target)
        if os.name != "posix":  # an open file cannot be renamed there, nor removed by others
            os.replace(part, target)
        _sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file of a name that is free; where the disk refuses in the middle, nothing of it stays.

    Raises:
        FileExistsError: the name is taken; OSError: the disk refuses.
    """
    with path.open("xb") as file:
        try:
            yield file
            file.flush()
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise


def backup_path(path: Path, number: int) -> Path:
    """Return where the backup of that age lies; 1 is the newest."""
    return path.with_name(f"{path.name}.bak{number}")


def back_up(path: Path, *, keep: int = BACKUPS) -> Path:
    """Give a file that is about to be replaced a second name and return that; older ones move up, the oldest goes.

    Raises:
        OSError: the folder or the disk refuses; the file is as it was.
    """
    for number in range(keep, 1, -1):
        newer = backup_path(path, number - 1)
        if newer.exists():
            os.replace(newer, backup_path(path, number))
    return second_name(path, backup_path(path, 1))


def second_name(path: Path, name: Path) -> Path:
    """Give a file another name beside its own and return that; whoever replaces the file does not change this one.

    Raises:
        OSError: the folder or the disk refuses.
    """
    try:
        os.link(path.resolve(), name)  # costs nothing: the file that replaces it is a new one
    except OSError:  # a file system without links, or an old file in the way
        with path.open("rb") as file, replacing(name) as copy:
            shutil.copyfileobj(file, copy)
        shutil.copystat(path, name)
    return name


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, and those above it; one that is there stays as it is.

    Raises:
        OSError: the system refuses.
    """
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def cure_of(error: OSError) -> Sentence:
    """Return what to do about a file that cannot be written."""
    if error.errno in FULL:
        return say("The disk is full: free some space there and try again. Nothing that was there is lost.")
    return say("Check the folder's permissions and the free space.")


def remove_unfinished(folder: Path) -> list[Path]:
    """Delete what killed processes left unfinished in a folder, and return it; what is being written stays."""
    gone: list[Path] = []
    now = time.monotonic()
    if now - _searched.get(folder, -_PAUSE) < _PAUSE:
        return gone
    _searched[folder] = now
    with suppress(OSError):  # no such folder: the write itself will say it
        for path in [Path(entry.path) for entry in os.scandir(folder) if UNFINISHED.fullmatch(entry.name)]:
            try:
                if _abandoned(path):
                    path.unlink()
                    gone.append(path)
            except OSError as error:  # gone meanwhile, or held open by another program: it is only untidy
                logger.info("%s was left where it is: %s", path, error)
    return gone


def _claim(file: BinaryIO) -> None:
    """Take the system's lock on a file that is being written, where the system has one."""
    if os.name == "posix":
        import fcntl

        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _abandoned(path: Path) -> bool:
    """Whether nobody writes the file any more."""
    if path.suffix != ".tmp":  # nobody holds the lock of what is whole
        return time.time() - path.stat().st_mtime > OLD
    if os.name != "posix":
        return True  # removing a file that is open fails there
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a network disk without locks
            return time.time() - path.stat().st_mtime > OLD
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network disks cannot; the file itself is safe
        logger.info("%s was not synced: %s", folder, error)
    finally:
        os.close(handle)

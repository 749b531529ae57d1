"""Saving without ever losing what was there: write beside the target, sync, read back, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from lib_lora.atomic import cure_of, replacing
from lib_lora.errors import FileError, InputError
from lib_lora.formats.hashes import chunks, sha256, told
from lib_lora.formats.header import Header, header_of, open_regular
from lib_lora.formats.names import ENDING
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


def check_target(target: Path, *, overwrite: bool, ending: str = ENDING, sources: Iterable[Path] = ()) -> None:
    """Refuse a target that cannot or must not be written, before any work is done for it.

    Raises:
        FileError: it exists and ``overwrite`` is false, or its folder or name cannot be used.
        InputError: it is one of the ``sources`` that the file is made of.
    """
    where = str(target)
    if target.suffix.lower() != ending:
        raise FileError("LoRA files are saved as .safetensors", where=where, cure="Change the ending of the name.")
    try:
        siblings = os.listdir(target.parent)
    except OSError as error:
        what = say("The folder cannot be used: {reason}", reason=error)
        raise FileError(what, where=str(target.parent), cure="Create it.") from error
    if os.path.isdir(target):  # a name that no system has is none; saving says so
        raise FileError("A folder has this name", where=where, cure="Choose another name.")
    if not overwrite and any(_same_name(name, target.name) for name in siblings):
        cure = say("Choose another name, or allow overwriting.")
        raise FileError("The file exists already", where=where, cure=cure, option="overwrite")
    if any(source.resolve() == target.resolve() for source in sources):
        what = say("The new file would replace one that it is made of")
        raise InputError(what, where=target.stem, cure="Choose another name.")


def _same_name(left: str, right: str) -> bool:
    """Whether two names could mean one file on a disk that ignores case or Unicode form."""
    return unicodedata.normalize("NFC", left).casefold() == unicodedata.normalize("NFC", right).casefold()


def save_atomically(
    target: Path, blocks: Iterable[bytes | memoryview], *, size: int, overwrite: bool = False, ending: str = ENDING
) -> Path:
    """Write ``size`` bytes beside the target, sync, read them back, and only then rename to the target.

    Whatever happens before the rename, a file that was there stays as it was; what a kill leaves, the next save in the
    folder removes.
    """
    save_hashed(target, blocks, size=size, overwrite=overwrite, ending=ending)
    return target


def save_hashed(
    target: Path,
    blocks: Iterable[bytes | memoryview],
    *,
    size: int,
    overwrite: bool = False,
    ending: str = ENDING,
    progress: Progress = QUIET,
) -> str:
    """Save as `save_atomically` does and return SHA-256 of the file; ``progress`` is told of reading it back."""
    check_target(target, overwrite=overwrite, ending=ending)
    try:
        if shutil.disk_usage(target.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with replacing(target) as file:
            written = _write_synced(file, blocks)
            header, found = _read_back(Path(file.name), where=str(target), progress=progress)
            if header.size != size or found != written:
                raise FileError(
                    "What the disk returns is not what was written", where=str(target), cure="Check the disk."
                )
            check_target(target, overwrite=overwrite, ending=ending)  # again: another job may have saved meanwhile
    except OSError as error:
        what = say("The file cannot be saved: {reason}", reason=error)
        raise FileError(what, where=str(target), cure=cure_of(error)) from error
    return written


def _read_back(path: Path, *, where: str, progress: Progress) -> tuple[Header, str]:
    """Return header and SHA-256 of a file that was just written; its errors call it ``where``."""
    with open_regular(path) as file:
        header = header_of(file, where=where)
        file.seek(0)
        read = told(chunks(file, where=where), header.size, progress, text=say("checking what was written"))
        return header, sha256(read)


def _write_synced(file: BinaryIO, blocks: Iterable[bytes | memoryview]) -> str:
    """Write down to the disk and return SHA-256 of what went in."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        file.write(block)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()

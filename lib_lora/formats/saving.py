"""Saving without ever losing what was there: write beside the target, sync, read back, rename."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from lib_lora.errors import AtelierError, FileError
from lib_lora.formats.hashes import file_hash
from lib_lora.formats.header import read_header


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that cannot or must not be written, before any work is done for it."""
    where = str(target)
    if target.suffix.lower() != ".safetensors":
        raise FileError("LoRA files are saved as .safetensors", where=where, cure="Change the ending of the name.")
    try:
        siblings = os.listdir(target.parent)
    except OSError as error:
        raise FileError(f"The folder cannot be used: {error}", where=str(target.parent), cure="Create it.") from error
    if target.is_dir():
        raise FileError("A folder has this name", where=where, cure="Choose another name.")
    if not overwrite and any(_same_name(name, target.name) for name in siblings):
        raise FileError("The file exists already", where=where, cure="Choose another name, or allow overwriting.")


def _same_name(left: str, right: str) -> bool:
    """Whether two names could mean one file on a disk that ignores case or Unicode form."""
    return unicodedata.normalize("NFC", left).casefold() == unicodedata.normalize("NFC", right).casefold()


def save_atomically(target: Path, blocks: Iterable[bytes | memoryview], *, size: int, overwrite: bool = False) -> Path:
    """Write ``size`` bytes beside the target, sync, read them back, and only then rename to the target.

    Whatever happens before the rename, a file that was there stays as it was; a kill leaves at most a ``.tmp`` file.
    """
    check_target(target, overwrite=overwrite)
    temporary = target.parent / f".atelier-{secrets.token_hex(8)}.tmp"
    try:
        if shutil.disk_usage(target.parent).free < size:
            raise FileError(f"The disk has no room for {size} bytes", where=str(target), cure="Free some space.")
        written = _write_synced(temporary, blocks)
        header = read_header(temporary)
        if header.size != size or file_hash(temporary) != written:
            raise FileError("What the disk returns is not what was written", where=str(target), cure="Check the disk.")
        check_target(target, overwrite=overwrite)  # again: another job may have saved meanwhile
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise FileError(f"The file cannot be saved: {error}", where=str(target), cure="Nothing was changed.") from error
    except AtelierError as error:
        error.where = error.where.replace(str(temporary), str(target))
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _write_synced(path: Path, blocks: Iterable[bytes | memoryview]) -> str:
    """Write a new file down to the disk and return SHA-256 of what went in."""
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for block in blocks:
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

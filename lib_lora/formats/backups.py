"""What a LoRA file was before: its first state for ever, the newest three of later ones, and the way back."""

from __future__ import annotations

import os
import secrets
from itertools import count, takewhile
from pathlib import Path

from lib_lora.atomic import BACKUPS, NEW, back_up, backup_path, cure_of, second_name
from lib_lora.errors import FileError, InputError
from lib_lora.formats.hashes import tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.sentences import say

ORIGINAL = ".original"
"""What stands behind the name of a file as it was before its first edit."""


def originals(path: Path) -> list[Path]:
    """Return what files of this name were before their first edit, the newest first.

    There are several where somebody put another file in the place of one that was edited.
    """
    first = path.with_name(f"{path.name}{ORIGINAL}")
    more = takewhile(Path.exists, (path.with_name(f"{first.name}{number}") for number in count(2)))
    return [*reversed([*more]), first] if first.exists() else []


def keep_original(path: Path) -> Path:
    """Keep what a file is before its first edit for ever, and return where; one that has the same tensors stands.

    Raises:
        OSError: the folder or the disk refuses.
    """
    kept = originals(path)
    if kept and same_tensors(kept[0], path):
        return kept[0]
    older = [backup_path(path, number) for number in range(BACKUPS, 0, -1)]  # of a version that kept no originals
    first = next((one for one in older if not kept and one.exists() and same_tensors(one, path)), path)
    end = ORIGINAL if not kept else f"{ORIGINAL}{len(kept) + 1}"
    return second_name(first, path.with_name(f"{path.name}{end}"))


def same_tensors(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors; one that cannot be read holds others."""
    try:
        if read_header(one).tensors != read_header(other).tensors:
            return False
        return one.samefile(other) or tensor_hash(one) == tensor_hash(other)
    except (FileError, OSError):
        return False


def earlier(path: Path, *, original: bool = False) -> Path:
    """Return the file that an undo would bring back: the last state, or what the file was before its first edit.

    Raises:
        InputError: there is none, or it is of another LoRA that had this name.
    """
    kept = originals(path) if original else [backup_path(path, 1)]
    if not kept or not kept[0].exists():
        what = say("There is no backup of this file")
        raise InputError(what, where=path.name, cure="A backup is made whenever a file is changed in place.")
    if not same_tensors(kept[0], path):
        what = say("The backup holds other tensors: it is of another file of this name")
        raise InputError(what, where=kept[0].name, cure="Rename it if you need it.")
    return kept[0]


def undo(path: str | Path, *, original: bool = False) -> tuple[Path, Path]:
    """Bring back a file's last state, or its first one, and return it and where the present one is kept.

    The last state and the present one change places, so that a second undo takes the first one back.

    Raises:
        InputError: see `earlier`; FileError: the disk refuses, the file is then as it was.
    """
    target = Path(path).resolve()
    kept, backup = earlier(target, original=original), backup_path(target, 1)
    fresh, present = (target.with_name(f".atelier-{secrets.token_hex(8)}{NEW}") for _ in range(2))
    try:
        second_name(kept, fresh)
        if original:
            back_up(target)
        else:
            os.replace(second_name(target, present), backup)
        os.replace(fresh, target)
    except OSError as error:
        what = say("The file cannot be changed in place: {reason}", reason=error)
        raise FileError(what, where=str(target), cure=cure_of(error)) from error
    finally:
        fresh.unlink(missing_ok=True)
        present.unlink(missing_ok=True)
    return target, backup

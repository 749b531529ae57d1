"""Pictures that people drop into the page: checked, named safely, and copied without replacing anything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.atomic import cure_of, make_folder, new_file
from lib_lora.data.files import PICTURE_SUFFIXES, file_digest
from lib_lora.data.images import inspect_picture
from lib_lora.errors import FileError
from lib_lora.formats.names import proposed_stem
from lib_lora.sentences import say
from lib_lora.walk import has_ending, list_folder

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier


def take_picture(atelier: Atelier, path: Path, folder: Path) -> Path:
    """Copy a dropped picture into ``folder`` and return where it lies.

    The same picture dropped twice is taken once; another picture of the same name gets a number.

    Raises:
        FileError: it is no picture that can be read whole, or larger than the limit for one upload.
        InputError: the folder is none that this server may use.
    """
    folder = atelier.folders.allowed(folder)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise FileError("This is not a picture", where=path.name, cure="Drop PNG, JPEG or WebP files.")
    size, limit = path.stat().st_size, atelier.upload_limit
    if size > limit:
        raise FileError(
            "The picture has {size:.0f} MB; {limit:.0f} MB are the limit for one file",
            size=size / 2**20,
            limit=limit / 2**20,
            where=path.name,
            cure="Save it smaller, or put it into the folder yourself.",
        )
    try:
        inspect_picture(path)
    except FileError as error:
        error.where = path.name  # what the person dropped, not where the upload lies meanwhile
        raise
    return _kept(path, folder)


def _kept(path: Path, folder: Path) -> Path:
    """Copy the file under a name that every system takes, or return the one that is there with the same content."""
    make_folder(folder)
    there = [one for one in list_folder(folder).files if has_ending(one, PICTURE_SUFFIXES)]
    size = path.stat().st_size
    for one in there:
        if one.stat().st_size == size and file_digest(one) == file_digest(path):
            return one
    # Captions belong to a stem, so the stem must be free, whatever the suffix.
    stem = proposed_stem([path.stem], taken=[one.stem for one in there])
    target = folder / f"{stem}{path.suffix.lower()}"
    try:
        with path.open("rb") as source, new_file(target) as copy:
            shutil.copyfileobj(source, copy)
    except OSError as error:
        what = say("The picture cannot be saved ({reason})", reason=error)
        raise FileError(what, where=str(target), cure=cure_of(error)) from error
    return target

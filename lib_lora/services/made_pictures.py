"""Pictures that are made here, with their captions: nothing that a person made or changed is replaced by them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_lora.atomic import back_up, cure_of, make_folder, new_file, replace_file
from lib_lora.data.caption_files import CaptionFiles
from lib_lora.data.captions import read_caption
from lib_lora.data.files import Problem, shown
from lib_lora.data.tags import write_text
from lib_lora.errors import FileError
from lib_lora.picture_file import open_picture
from lib_lora.sentences import say

MARK = "LoRA Atelier"
"""Keyword of the text in a PNG under which the digest of its pixels stands."""


def save_new(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG under a name that is free.

    Raises:
        FileExistsError: the name is taken.
        FileError: the disk refuses.
    """
    make_folder(path.parent)
    try:
        with new_file(path) as file:
            file.write(_png(picture))
    except FileExistsError:
        raise
    except OSError as error:
        what = say("The picture cannot be saved ({reason})", reason=error)
        raise FileError(what, where=shown(path), cure=cure_of(error)) from error


def save_again(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG; whether the one that is there may go, `is_made_here` says.

    Raises:
        FileError: the disk refuses; the old picture is then still whole.
    """
    make_folder(path.parent)
    replace_file(path, _png(picture), what=say("The picture"))


def is_made_here(path: Path) -> bool:
    """Whether a file is a PNG that was written here and has the same pixels still."""
    try:
        with path.open("rb") as file, open_picture(file, where=shown(path), kinds=("PNG",)) as picture:
            return picture.info.get(MARK) == _digest(picture)
    except (OSError, FileError):
        return False


def put_caption(picture: Path, text: str, files: CaptionFiles, *, again: bool = False) -> Problem | None:
    """Write the caption of a picture that was just made; return what is to be said where another one is there.

    Args:
        picture: that was made.
        text: of the caption; nothing is written for none.
        files: those of its folder as they were before.
        again: replaces another caption and keeps that as a backup beside it.

    Raises:
        FileError: the disk refuses.
    """
    there = files.find(picture)
    if not text or (there is not None and read_caption(there).text.strip() == text.strip()):
        return None
    if there is not None and not again:
        what = say("Its caption was not written, for there is another one: {name}", name=shown(there.name))
        return Problem(picture, what, say("Compare the two, and keep the right one."))
    path = there or files.place(picture)
    if there is not None:
        try:
            back_up(path)
        except OSError as error:
            what = say("The backup cannot be written ({reason})", reason=error)
            raise FileError(what, where=shown(path), cure=cure_of(error)) from error
    write_text(path, text + "\n")
    return None


def _png(picture: Image.Image) -> bytes:
    data, mark = io.BytesIO(), PngInfo()
    mark.add_text(MARK, _digest(picture))
    picture.save(data, "PNG", pnginfo=mark)
    return data.getvalue()


def _digest(picture: Image.Image) -> str:
    return hashlib.sha256(f"{picture.mode} {picture.size}".encode() + picture.tobytes()).hexdigest()

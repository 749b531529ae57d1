"""Where finished pictures go: a folder a day, numbered, never over an older one, with their settings inside."""

from __future__ import annotations

import time
from pathlib import Path

from PIL import Image

from lib_lora.atomic import cure_of, folder_error, new_file
from lib_lora.errors import FileError
from lib_lora.host.infotext import png_bytes
from lib_lora.sentences import say

_TRIES = 1000


def save_picture(outputs: Path, image: Image.Image, text: str, *, seed: int) -> Path:
    """Write ``image`` as PNG with ``text`` in it to ``outputs/DATE/NUMBER-SEED.png`` and return its path.

    Raises:
        FileError: the disk refuses.
    """
    data = png_bytes(image, text)
    folder = outputs / time.strftime("%Y-%m-%d")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        first = 1 + max((_number(path) for path in folder.glob("*.png")), default=0)
        for number in range(first, first + _TRIES):
            path = folder / f"{number:05d}-{seed}.png"
            try:
                with new_file(path) as file:
                    file.write(data)
            except FileExistsError:  # another job was faster with this number
                continue
            return path
    except OSError as error:
        what = say("The picture cannot be saved ({reason})", reason=error)
        raise FileError(what, where=str(folder), cure=cure_of(error)) from error
    raise FileError("The picture cannot be saved", where=str(folder), cure="Empty the folder.")


def new_folder(parent: Path) -> Path:
    """Return a new folder under ``parent``, named by the time.

    Raises:
        FileError: the disk refuses.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, _TRIES):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise folder_error(error, folder) from error
        return folder
    raise FileError("The folder cannot be made", where=str(parent), cure="Empty it.")


def _number(path: Path) -> int:
    before = path.stem.partition("-")[0]
    return int(before) if before.isascii() and before.isdecimal() else 0

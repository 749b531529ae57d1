"""A finished LoRA is put where prompts find it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lib_lora.atomic import make_folder, new_file
from lib_lora.errors import FileError


def deliver(path: Path, folder: Path) -> Path:
    """Put a finished file into the folder of LoRAs and return its place there; nothing there is ever replaced.

    A hard link where the disk can (no room is taken), else a copy. A taken name gets a number.

    Raises:
        FileError: the folder cannot be written.
    """
    make_folder(folder)
    for number in range(1, 1000):
        target = folder / (path.name if number == 1 else f"{path.stem}-{number}{path.suffix}")
        try:
            if target.exists():
                if target.samefile(path):
                    return target
                continue
            try:
                os.link(path, target)
            except FileExistsError:
                continue
            except OSError:  # another disk, or one without links
                with open(path, "rb") as source, new_file(target) as copy:
                    shutil.copyfileobj(source, copy)
            return target
        except OSError as error:
            raise FileError(
                "The file cannot be put into the folder of LoRAs ({reason})",
                reason=error,
                where=str(target),
                cure="It lies in the run's folder: {path}",
                path=path,
            ) from error
    raise FileError(
        "There are a thousand files of this name", where=str(folder), cure="It lies here: {path}", path=path
    )

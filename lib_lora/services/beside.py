"""PEFT's ``adapter_config.json`` beside a file: it goes where the file goes, and none is replaced unasked."""

from __future__ import annotations

from pathlib import Path

from lib_lora.atomic import replace_file
from lib_lora.errors import FileError, InputError
from lib_lora.formats.files import is_pickle
from lib_lora.formats.header import read_header
from lib_lora.formats.peft import CONFIG_NAME
from lib_lora.sentences import say


def options_text(path: Path) -> str:
    """Return the text of the options that belong to a file in PEFT's form; "" where there are none.

    Raises:
        FileError: the file is broken.
    """
    options = path.with_name(CONFIG_NAME)
    if not options.is_file() or is_pickle(path):
        return ""
    belongs = any(name.startswith("base_model.") for name in read_header(path).tensors)
    return options.read_text(encoding="utf-8", errors="replace") if belongs else ""


def check_beside(path: Path, target: Path, *, new: bool, overwrite: bool) -> None:
    """Refuse to replace options that another file needs, before any work is done.

    Args:
        path: the file that is rewritten.
        target: the new one.
        new: whether options are written for it; else those of the old one go with it, if it has some.
        overwrite: whether a file may be replaced.

    Raises:
        InputError: they are those of the old file. FileError: they are there, and ``overwrite`` is false.
    """
    place = target.with_name(CONFIG_NAME)
    if not place.exists():
        return
    if new and path.with_name(CONFIG_NAME).resolve() == place.resolve() and options_text(path):
        what = say("The options beside the new file would replace those of the old one")
        raise InputError(what, where=str(place), cure="Choose another folder.")
    text = "" if new else options_text(path)
    if (new or (text and place.read_text(encoding="utf-8", errors="replace") != text)) and not overwrite:
        cure = say("Choose another folder, or allow overwriting.")
        raise FileError("The file exists already", where=str(place), cure=cure, option="overwrite")


def put_beside(saved: Path, text: str) -> None:
    """Write options beside a file, where it has some and they are not there yet."""
    place = saved.with_name(CONFIG_NAME)
    if text and not (place.is_file() and place.read_text(encoding="utf-8", errors="replace") == text):
        replace_file(place, text.encode("utf-8"))

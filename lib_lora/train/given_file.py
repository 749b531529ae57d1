"""Text files that a person gave by name: options, data sets and sample prompts, and the places that they name."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from lib_lora.errors import FileError, InputError
from lib_lora.sentences import Sentence, say
from lib_lora.train.toml_files import toml_reader

_WINDOWS_PATH = re.compile(r'"[^"\n]*\\')


def read_given(path: Path, what: Sentence) -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: as it was given.
        what: what it holds, for the error: “the options”.

    Raises:
        InputError: there is no such file, or it is no text in UTF-8; FileError: the disk refuses.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError("There is no such file", where=str(path), cure="Check the name and the folder.") from error
    except UnicodeDecodeError as error:
        raise InputError("The file is no text in UTF-8", where=str(path), cure="Save the file as UTF-8.") from error
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise FileError("{noun} cannot be read ({reason})", noun=what, reason=error, where=str(path)) from error


def read_table(path: Path, what: Sentence) -> Any:
    """Return what a JSON file, by its ending, or else a TOML file says.

    Raises:
        FileError, InputError: see `read_given`; or it is not what its ending says; or this Python reads no TOML.
    """
    kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
    text = read_given(path, what)
    loads = json.loads if kind == "JSON" else toml_reader(path)
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:  # both readers' own errors are ValueErrors
        slashes = say("In double quotes a backslash begins a sign: write / in paths, or every backslash twice.")
        cure: Sentence | str = slashes if _WINDOWS_PATH.search(text) else ""
        raise InputError(
            "This is no valid {kind}: {error}", kind=kind, error=error, where=str(path), cure=cure
        ) from error


def place_beside(folder: Path, text: str, *, where: str) -> Path:
    """Return the absolute place that a file in ``folder`` names; quotes and blanks around it are left out.

    Elsewhere than on Windows its separator is read too, where nothing has that very name.

    Raises:
        InputError: the text holds control characters, as ``"C:\\new"`` does in TOML's and JSON's double quotes.
    """
    text = text.strip(" ")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if any(char < " " or char == "\x7f" for char in text):
        raise InputError(
            "A place on the disk cannot hold line breaks, tabs or other control characters: {given}",
            given=repr(text)[1:-1],
            where=where,
            cure="In double quotes a backslash begins a sign: write / in paths, or every backslash twice.",
        )
    place = folder / os.path.expanduser(text)
    if os.sep == "/" and "\\" in text and not place.exists():
        other = folder / os.path.expanduser(text.replace("\\", "/"))
        place = other if other.exists() else place
    return place.resolve()

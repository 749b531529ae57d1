"""Options on the disk: a run keeps JSON, which every Python reads by itself; a person may write TOML as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError
from lib_lora.sentences import say
from lib_lora.train.given_file import place_beside, read_table
from lib_lora.train.options import PLACES, TrainOptions, from_mapping
from lib_lora.train.options.network import base_with_path

OPTIONS_FILE, OLD_OPTIONS_FILE = "options.json", "options.toml"
"""The options in a run's folder, and what they were called in runs of earlier versions."""


def to_json(options: TrainOptions) -> str:
    """Return the options as a JSON document that `read_options` reads back to the same object."""
    return json.dumps(options.to_dict(), indent=1, ensure_ascii=False) + "\n"


def options_file(run: Path) -> Path | None:
    """Return the file with the options of a run's folder; None where the folder holds no run."""
    return next((path for path in (run / OPTIONS_FILE, run / OLD_OPTIONS_FILE) if path.is_file()), None)


def read_options(path: Path) -> TrainOptions:
    """Return the options in a JSON or TOML file; relative folders count from the file.

    Raises:
        FileError: the file cannot be read.
        InputError: line and reason where it is not what its ending says, or an option is wrong.
    """
    return from_mapping(read_values(path), where=str(path))


def read_values(path: Path) -> dict[str, Any]:
    """Return what a file of options says, without what a recipe or a default would add; ``.json`` or else TOML.

    Raises:
        FileError: the file cannot be read.
        InputError: it is not there; line and reason where it is not what its ending says; this Python reads no TOML.
    """
    values = read_table(path, say("The options"))
    if not isinstance(values, dict):
        raise InputError("This option is a table of names and values", where=str(path))
    for key in PLACES:
        if isinstance(values.get(key), str) and values[key]:
            values[key] = str(place_beside(path.parent, values[key], where=f"{path}: {key}"))
    listed = values.get("base_loras")
    if isinstance(listed, list | tuple) and all(isinstance(one, str) for one in listed):
        values["base_loras"] = [base_with_path(path.parent, one) for one in listed]
    return values

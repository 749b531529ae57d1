"""Options of a training as a visitor of this server gives them: its folders checked, over the recipe of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import InputError
from lib_lora.host.base import check_clip_skip
from lib_lora.services.given_data import check_dataset_file
from lib_lora.services.given_loras import allowed_loras
from lib_lora.services.given_presets import with_presets
from lib_lora.train.options import TrainOptions, from_mapping
from lib_lora.train.recipes import facts_of

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

FOLDERS = ("images", "reg_images", "masks")


def run_options(atelier: Atelier, given: Mapping[str, Any]) -> TrainOptions:
    """Return the options of a run over the recipe of its kind, its folders checked.

    Raises:
        InputError: an unknown option, a wrong value, or a folder that is not there or not allowed.
    """
    values = dict(given)
    for key in FOLDERS:
        nothing = key == "images" and values.get(key) == "" and not values.get("dataset_config")
        if values.get(key) or nothing:
            values[key] = str(picture_folder(atelier, values[key], key))
    if values.get("dataset_config"):
        values["dataset_config"] = str(dataset_file(atelier, values["dataset_config"]))
    values |= allowed_loras(values, atelier.folders)
    options = with_presets(from_mapping(values, where="train", model=facts_of(atelier.host.model)), atelier.host)
    check_clip_skip(options.clip_skip, atelier.host.model)
    return options


def picture_folder(atelier: Atelier, given: Any, where: str) -> Path:
    """Return the folder that a field names.

    Raises:
        InputError: it is no text, not there, or not allowed.
    """
    folder = atelier.folders.allowed(_path(given, where), where=where)
    if not folder.is_dir():
        raise InputError("There is no such folder of pictures", where=where, cure="Check the path.")
    return folder


def dataset_file(atelier: Atelier, given: Any) -> Path:
    """Return the dataset file that a field names, its folders checked like those that a field names.

    Raises:
        InputError: it is no text, cannot be read, or names a folder that is not allowed.
    """
    where = "dataset_config"
    path = atelier.folders.allowed(_path(given, where), where=where)
    check_dataset_file(atelier.folders, path)
    return path


def _path(text: Any, where: str) -> Path:
    if not isinstance(text, str) or "\0" in text:
        raise InputError("This field is a text", where=where, cure="Give the path of a folder.")
    if not text.strip():  # else it would be the whole data folder
        raise InputError("No folder was given", where=where, cure="Give the path of a folder.")
    return Path(text)

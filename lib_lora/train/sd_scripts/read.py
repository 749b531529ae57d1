"""Settings of sd-scripts (``--config_file``) and of the kohya_ss GUI (JSON) as options of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.sentences import say
from lib_lora.train.given_file import place_beside, read_table
from lib_lora.train.options import PLACES
from lib_lora.train.options.network import base_with_path
from lib_lora.train.sample_prompts import with_files_read
from lib_lora.train.sd_scripts import gui, names
from lib_lora.train.sd_scripts.imported import Imported, is_asked
from lib_lora.train.sd_scripts.read_network import take_base_loras, take_network, take_optimizer
from lib_lora.train.sd_scripts.read_run import take_course, take_pictures, take_rates, take_sizes

_SETTINGS = {*names.PLAIN, *names.NOT_NEEDED, *names.OWN}
"""Names that stand in a section of settings, and not among the arguments of a network or an optimizer."""
_TRUTHS: Mapping[str, Any] = {"true": True, "false": False}


def import_settings(path: Path) -> Imported:
    """Return what a file of sd-scripts' or kohya_ss's settings means here.

    Raises:
        FileError, InputError: it cannot be read, or is no table of settings.
    """
    given = read_table(path, say("The settings"))
    if not isinstance(given, Mapping) or "datasets" in given:
        raise InputError(
            "This is no file of training settings",
            where=str(path),
            cure="A dataset file goes to dataset_config; settings have names such as network_dim.",
        )
    made = imported(flattened(given))
    for name in PLACES:
        if made.values.get(name):
            made.values[name] = str(place_beside(path.parent, made.values[name], where=f"{path}: {name}"))
    if made.values.get("base_loras"):
        made.values["base_loras"] = tuple(base_with_path(path.parent, one) for one in made.values["base_loras"])
    prompts = made.values.get("sample_prompts")
    if prompts:
        try:
            made.values["sample_prompts"] = with_files_read(prompts, path.parent)
        except AtelierError as error:
            del made.values["sample_prompts"]
            made.notes.append(say("the sample prompts are left out: {error}", error=error.what))
    return made


def flattened(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without their sections, which sd-scripts ignores; other programs have sections in sections."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if not isinstance(value, Mapping):
            flat[name] = value
        elif name in names.ARGUMENT_LISTS and not any(
            isinstance(one, Mapping) or key in _SETTINGS for key, one in value.items()
        ):
            flat[name] = [f"{key}={one}" for key, one in value.items()]  # a table where sd-scripts has a list
        else:
            flat |= flattened(value)
    return flat


def imported(given: Mapping[str, Any]) -> Imported:
    """Return settings by the names of sd-scripts, or of the kohya_ss GUI, as options of ours."""
    made = Imported(dict(names.DEFAULTS))
    if gui.is_gui(given):
        given, made.not_needed = gui.as_arguments(given)
    plain = {
        name: _TRUTHS.get(value.lower(), value) if isinstance(value, str) else value for name, value in given.items()
    }
    rest = {name: value for name, value in plain.items() if is_asked(value)}
    for take in (take_pictures, take_network, take_optimizer, take_rates, take_course, take_sizes, take_base_loras):
        take(rest, made)
    for name, option in names.PLAIN.items():
        if name in rest:
            made.take(option, rest.pop(name), name)
    if made.values.get("adaptive_noise_scale") and not made.values.get("noise_offset"):
        del made.values["adaptive_noise_scale"]
        made.notes.append(say("{name} does nothing without {other}", name="adaptive_noise_scale", other="noise_offset"))
    if made.values.get("epochs"):
        made.values.pop("steps", None)  # epochs win, as there
    elif not made.values.get("steps"):
        made.values["steps"] = names.STEPS
    for name, value in rest.items():
        if name in names.NOT_NEEDED:
            made.not_needed.append(name)
        elif value not in (0, "0", ""):
            made.not_understood(name, str(value)[:80])
    return made

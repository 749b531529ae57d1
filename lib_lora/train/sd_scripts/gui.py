"""A file of the kohya_ss GUI as the arguments that the GUI gives to sd-scripts (as of July 2026)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lib_lora.train.sd_scripts import names

EMPTY = ("", "None", "none")
"""How both programs write that something is not asked for; besides nothing, false, and an empty list."""

_OFF = (0, False, "", "False", "false")


def is_gui(given: Mapping[str, Any]) -> bool:
    """Whether settings are the GUI's and not sd-scripts' own."""
    return any(name in given for name in names.GUI_ONLY)


def as_arguments(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return sd-scripts' arguments for what stands in the GUI's fields, and the fields that do nothing then.

    Every file holds every field, also those that the chosen type of LoRA, or of noise, has no use for. What cannot be
    told here stays under its name.
    """
    fields = {name: value for name, value in given.items() if not (isinstance(value, str) and value in EMPTY)}
    for alias, name in names.GUI.items():
        if alias in fields:
            other = fields.pop(alias)
            fields.setdefault(name, other)
    idle = [name for name in fields if _is_of_another_model(name, fields)]
    for name in idle:
        del fields[name]
    _length(fields)
    idle += _noise(fields)
    for name in ("unet_lr", "text_encoder_lr"):
        if name in given:
            fields.setdefault(name, 0)  # an empty field is 0 there, and 0 beside another rate trains nothing
    idle += _network(fields)
    for name in names.ZERO_IS_NONE:
        if _number(fields.get(name)) == 0:
            del fields[name]
    more = fields.pop("additional_parameters", "")
    try:
        found = of_words(shlex.split(str(more)))
    except ValueError:  # an open quote
        return {**fields, "additional_parameters": more}, idle
    return fields | found, idle


def of_words(words: list[str]) -> dict[str, Any]:
    """Return the arguments of a command line, each with its text, its texts, or True where it has none."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, sign, value = word[2:].partition("=")
            found[name] = [value] if sign else []
        else:
            found.setdefault(name, []).append(word)
    several = (*names.ARGUMENT_LISTS, "base_weights", "base_weights_multiplier")
    return {
        name: values if name in several or len(values) > 1 else values[0] if values else True
        for name, values in found.items()
    }


def _is_of_another_model(name: str, fields: Mapping[str, Any]) -> bool:
    """Whether a field is about a family that the settings do not ask for."""
    prefix = next((each for each in names.FAMILIES if name.startswith(each)), "")
    if prefix:
        return not fields.get(names.FAMILIES[prefix])
    return name in names.TRANSFORMERS and not any(
        fields.get(box) for box in set(names.FAMILIES.values()) - {names.SDXL_BOX}
    )


def _length(fields: dict[str, Any]) -> None:
    """Say steps and warm-up as the GUI does: epochs are for counting steps where none are given."""
    epochs = fields.pop("epoch", 0)
    if not _number(fields.get("max_train_epochs")) and not _number(fields.get("max_train_steps")):
        fields.pop("max_train_epochs", None)
        if epochs and not fields.get("dataset_config"):
            fields["max_train_epochs"] = epochs
    percent = fields.pop("lr_warmup", 0)
    if not _number(fields.get("lr_warmup_steps")) and percent:
        share = _number(percent)
        fields["lr_warmup_steps"] = percent if share is None else share / 100


def _noise(fields: dict[str, Any]) -> list[str]:
    """Leave out the noise that is not the chosen one; return what it was."""
    kind = str(fields.pop("noise_offset_type", "")).lower()
    other = {"original": ("multires_noise_iterations", "multires_noise_discount"), "multires": names.OFFSET_NOISE}
    idle = [name for name in other.get(kind, ()) if name in fields]
    for name in idle:
        del fields[name]
    return idle


def _network(fields: dict[str, Any]) -> list[str]:
    """Put the fields of a network among its arguments; return those that its type has no use for."""
    given = str(fields.pop("LoRA_type", "Standard"))
    kind = names.LORA_TYPES.get(given.lower())
    own = {name: fields.pop(name) for name in list(fields) if name in names.NETWORK_FIELDS}
    if own.get("LyCORIS_preset") == "full":  # what it does by itself
        del own["LyCORIS_preset"]
    if kind is None:
        fields["LoRA_type"] = given
        kind = names.LORA_TYPES["standard"]
    fields["network_module"] = kind.module
    taken = {name: value for name, value in own.items() if name in kind.fields or name in names.EVERY_NETWORK}
    if kind.algorithm:
        taken["algo"] = kind.algorithm
    fields["network_args"] = [
        f"{names.NETWORK_FIELDS.get(name, name)}={value}"
        for name, value in taken.items()
        if name in ("conv_dim", "conv_alpha") or value not in _OFF
    ]
    return [name for name, value in own.items() if name not in taken and value not in _OFF]


def _number(value: Any) -> float | None:
    """Return a number that may be written as a text; None where it is none."""
    with suppress(TypeError, ValueError):
        return float(value)
    return None

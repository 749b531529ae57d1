"""Settings of sd-scripts (``--config_file``) and of the kohya_ss GUI (JSON) as options of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.options import find
from lib_lora.sentences import Sentence, say
from lib_lora.train.given_file import read_given
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options import PLACES, TrainOptions, parse_argument
from lib_lora.train.options.network import base_with_path
from lib_lora.train.sample_prompts import with_files_read
from lib_lora.train.sd_scripts import names
from lib_lora.train.toml_files import toml_reader

EMPTY = ("", "None", "none")
"""How both programs write that something is not asked for; besides nothing, false, and an empty list."""


@dataclass
class Imported:
    """What a file of settings came to.

    Attributes:
        values: options of ours; a training from them repeats that program's rates and defaults.
        notes: what was not understood, and what could not be taken over as it is; one sentence each.
        not_needed: settings that are about how that program computes.
    """

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[Sentence] = field(default_factory=list)
    not_needed: list[str] = field(default_factory=list)


def import_settings(path: Path) -> Imported:
    """Return what a file of sd-scripts' or kohya_ss's settings means here.

    Raises:
        FileError, InputError: it cannot be read, or is no table of settings.
    """
    is_json = path.suffix.lower() == ".json"
    loads = json.loads if is_json else toml_reader(path)
    try:
        given = loads(read_given(path, say("The settings")))
    except ValueError as error:
        kind = "JSON" if is_json else "TOML"
        raise InputError("This is no valid {kind}: {error}", kind=kind, error=error, where=str(path)) from error
    if not isinstance(given, Mapping) or "datasets" in given:
        raise InputError(
            "This is no file of training settings",
            where=str(path),
            cure="A dataset file goes to dataset_config; settings have names such as network_dim.",
        )
    made = imported(flattened(given))
    for name in PLACES:
        if made.values.get(name):
            made.values[name] = str((path.parent / made.values[name]).resolve())
    if made.values.get("base_loras"):
        made.values["base_loras"] = tuple(base_with_path(path.parent, one) for one in made.values["base_loras"])
    prompts = made.values.get("sample_prompts")
    if prompts:
        try:
            made.values["sample_prompts"] = with_files_read([prompts], path.parent)
        except AtelierError as error:
            del made.values["sample_prompts"]
            made.notes.append(say("the sample prompts are left out: {error}", error=error.what))
    return made


def flattened(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without their sections, which sd-scripts ignores, under sd-scripts' own names."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    for alias, name in names.GUI.items():
        if alias in flat:
            other = flat.pop(alias)
            flat[name] = flat.get(name) or other
    return flat


def imported(given: Mapping[str, Any]) -> Imported:
    """Return settings by sd-scripts' names as options of ours."""
    made = Imported(dict(names.DEFAULTS))
    rest = {name: value for name, value in given.items() if _asked(value)}
    _network(rest, made)
    _optimizer(rest, made)
    _rates(rest, made)
    _course(rest, made)
    _sizes(rest, made)
    _base_loras(rest, made)
    for name, option in names.PLAIN.items():
        if name in rest:
            _take(option, rest.pop(name), made, name)
    if made.values.get("epochs"):
        made.values.pop("steps", None)  # epochs win, as there
    elif not made.values.get("steps"):
        made.values["steps"] = names.STEPS
    for name, value in rest.items():
        if name in names.NOT_NEEDED:
            made.not_needed.append(name)
        elif value not in (0, "0"):
            made.notes.append(say("not understood: {name} = {value}", name=name, value=str(value)[:80]))
    return made


def _asked(value: Any) -> bool:
    return not (value is None or value is False or value == [] or value in EMPTY)


def _take(option: str, value: Any, made: Imported, name: str) -> None:
    """Take a value over, or say why not."""
    known = find(TrainOptions, option)
    if known.kind is str and isinstance(value, int | float | list | tuple):  # numbers of blocks, taken apart already
        value = ",".join(f"{one:g}" for one in value) if isinstance(value, list | tuple) else f"{value:g}"
    if known.kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        made.values[option] = known.parse(value)
    except AtelierError as error:
        made.notes.append(
            say("{name} = {value} is left out: {error}", name=name, value=str(value)[:80], error=error.what)
        )


def _network(rest: dict[str, Any], made: Imported) -> None:
    module = str(rest.pop("network_module", "networks.lora"))
    arguments = _arguments(rest.pop("network_args", []), made)
    gui = str(rest.pop("LoRA_type", ""))
    if gui.startswith("LyCORIS/"):
        module, arguments = "lycoris.kohya", {"algo": gui.partition("/")[2].lower(), **arguments}
    for name in ("conv_dim", "conv_alpha", "factor"):
        if name in rest:
            arguments.setdefault(name, rest.pop(name))
    if module == "lycoris.kohya":
        algorithm = str(arguments.pop("algo", "lora")).lower()
        if algorithm in names.ALGORITHMS:
            made.values["network"] = names.ALGORITHMS[algorithm]
            dims = {"conv_dim": rest.get("network_dim", 4), "conv_alpha": rest.get("network_alpha", 1)}
            arguments = {**dims, **arguments}
        else:
            made.notes.append(say("not understood: {name} = {value}", name="algo", value=algorithm))
    elif module != "networks.lora":
        made.notes.append(say("not understood: {name} = {value}", name="network_module", value=module))
    elif arguments.get("conv_dim") or gui == "Kohya LoCon":
        made.values["network"] = "locon"
    on_output = arguments.pop("wd_on_output", True)
    if arguments.pop("dora_wd", False) or rest.pop("dora_wd", False):
        made.values["dora"] = True
        if on_output:
            made.notes.append(
                say(
                    "DoRA keeps a length for each input here, as with wd_on_output=False: "
                    "AUTOMATIC1111's WebUI applies no other one"
                )
            )
    options = {"conv_dim": "conv_dim", "conv_alpha": "conv_alpha", "factor": "lokr_factor", "rs_lora": "rslora"}
    for name, value in arguments.items():
        option = options.get(name, name)
        if made.values["network"] == "lora" and name in options:
            continue  # nothing there uses it either
        if option in TrainOptions.__dataclass_fields__:
            _take(option, value, made, name)
        else:
            made.notes.append(say("not understood: {name} = {value}", name="network_args", value=f"{name}={value}"))


def _base_loras(rest: dict[str, Any], made: Imported) -> None:
    """Take over the files that lie under a training, each with its strength; 1 where none is given, as there."""
    files, strengths = rest.pop("base_weights", []), rest.pop("base_weights_multiplier", [])
    files, strengths = ([one] if isinstance(one, str | int | float) else list(one) for one in (files, strengths))
    strengths += [1.0] * (len(files) - len(strengths))
    if files:
        _take(
            "base_loras",
            [f"{file}:{number}" for file, number in zip(files, strengths, strict=False)],
            made,
            "base_weights",
        )


def _optimizer(rest: dict[str, Any], made: Imported) -> None:
    wanted = str(rest.pop("optimizer_type", "") or "AdamW")
    for flag, name in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        wanted = name if rest.pop(flag, False) else wanted
    known = {name.lower(): name for name in OPTIMIZERS} | dict(names.OPTIMIZERS)
    found = known.get(wanted.lower(), wanted if "." in wanted else "")
    if not found:
        made.notes.append(say("not understood: {name} = {value}", name="optimizer_type", value=wanted))
    made.values["optimizer"] = found or "AdamW"
    made.values["optimizer_args"] = _arguments(rest.pop("optimizer_args", []), made)


def _arguments(given: Any, made: Imported) -> dict[str, Any]:
    """Return ``name=value`` texts, in a list or between blanks, as values."""
    found: dict[str, Any] = {}
    texts = given.split() if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]
    for text in texts:
        try:
            name, value = parse_argument(str(text))
        except AtelierError as error:
            made.notes.append(error.what)
            continue
        found[name] = value
    return found


def _rates(rest: dict[str, Any], made: Imported) -> None:
    """Take over one rate and two ratios for what are three rates there."""
    texts = rest.pop("text_encoder_lr", None)
    if isinstance(texts, list | tuple):
        if len({*map(str, texts)}) > 1:
            made.notes.append(say("the text encoders share one rate here: {rate} is taken", rate=texts[0]))
        texts = texts[0]
    unet, base = rest.pop("unet_lr", None), rest.pop("learning_rate", None)
    try:
        unet, text, base = (None if one is None else float(one) for one in (unet, texts, base))
    except (TypeError, ValueError) as error:
        made.notes.append(say("not understood: {name} = {value}", name="learning_rate", value=str(error)))
        return
    base = base or unet or text or made.values["learning_rate"]
    if not unet and not text:
        unet = text = base
    unet, text = (base if unet is None else unet), (base if text is None else text)
    made.values["learning_rate"] = unet or text
    made.values["text_encoder_ratio"] = round(text / unet, 6) if unet else 1.0
    made.values["unet_ratio"] = 1.0 if unet else 0.0
    if rest.pop("network_train_unet_only", False):
        made.values["text_encoder_ratio"] = 0.0
    if rest.pop("network_train_text_encoder_only", False):
        made.values |= {"learning_rate": text or base, "text_encoder_ratio": 1.0, "unet_ratio": 0.0}


def _course(rest: dict[str, Any], made: Imported) -> None:
    wanted = str(rest.pop("lr_scheduler", "constant"))
    course = names.SCHEDULERS.get(wanted)
    if course is None and wanted != "adafactor":  # what that optimizer does by itself
        made.notes.append(say("not understood: {name} = {value}", name="lr_scheduler", value=wanted))
    made.values["scheduler"] = course or "constant"
    percent = rest.pop("lr_warmup", None)  # the GUI's share in percent
    if percent and "lr_warmup_steps" not in rest:
        _take("warmup", float(percent) / 100, made, "lr_warmup")
    if "zero_terminal_snr" in rest:
        made.values["zero_terminal_snr"] = "on" if rest.pop("zero_terminal_snr") else "off"
    prompts = rest.pop("sample_prompts", None)
    if isinstance(prompts, str):
        made.values["sample_prompts"] = prompts


def _sizes(rest: dict[str, Any], made: Imported) -> None:
    sides = rest.pop("resolution", None)
    if sides is not None:
        listed = sides if isinstance(sides, list) else str(sides).replace("x", ",").split(",")
        try:
            width, height = (int(side) for side in (listed if len(listed) > 1 else [listed[0]] * 2))
            made.values |= {"resolution": width, "resolution_height": height if height != width else 0}
        except (TypeError, ValueError):
            made.notes.append(say("not understood: {name} = {value}", name="resolution", value=str(sides)))
    if "bucket_no_upscale" in rest:
        made.values["bucket_upscale"] = not rest.pop("bucket_no_upscale")

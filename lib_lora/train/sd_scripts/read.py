"""Settings of sd-scripts (``--config_file``) and of the kohya_ss GUI (JSON) as options of ours."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora.data.files import CAPTION_SUFFIXES
from lib_lora.errors import AtelierError, InputError
from lib_lora.options import find, options_of
from lib_lora.sentences import Sentence, say
from lib_lora.train.given_file import place_beside, read_table
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options import PLACES, TrainOptions, parse_argument, split_arguments
from lib_lora.train.options.blocks import BlockOptions
from lib_lora.train.options.learning import LearningOptions
from lib_lora.train.options.network import NetworkOptions, base_with_path
from lib_lora.train.sample_prompts import with_files_read
from lib_lora.train.sd_scripts import gui, names

_SETTINGS = {*names.PLAIN, *names.NOT_NEEDED, *names.OWN}
"""Names that stand in a section of settings, and not among the arguments of a network or an optimizer."""
_TRUTHS: Mapping[str, Any] = {"true": True, "false": False}
_OF_NETWORKS = {
    one.name for one in (*options_of(NetworkOptions), *options_of(BlockOptions), *options_of(LearningOptions))
}
"""Options that may stand among the arguments of a network."""


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
    rest = {name: value for name, value in plain.items() if _asked(value)}
    _data(rest, made)
    _network(rest, made)
    _optimizer(rest, made)
    _rates(rest, made)
    _course(rest, made)
    _sizes(rest, made)
    _base_loras(rest, made)
    for name, option in names.PLAIN.items():
        if name in rest:
            _take(option, rest.pop(name), made, name)
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
            made.notes.append(say("not understood: {name} = {value}", name=name, value=str(value)[:80]))
    return made


def _asked(value: Any) -> bool:
    return not (value is None or value is False or value == [] or value in gui.EMPTY)


def _flag(rest: dict[str, Any], name: str) -> bool:
    """Return whether a switch is on, and take it away."""
    return rest.pop(name, False) not in (False, 0, "0")


def _data(rest: dict[str, Any], made: Imported) -> None:
    """Say what is told of pictures and captions otherwise than here."""
    beside = [name for name in ("train_data_dir", "reg_data_dir", "in_json") if name in rest]
    if "dataset_config" in rest and beside:
        for name in beside:
            del rest[name]
        made.notes.append(say("not read beside a dataset file, as there: {names}", names=beside))
    ending = str(rest.pop("caption_extension", CAPTION_SUFFIXES[0]))
    if ending.lower() not in CAPTION_SUFFIXES:
        made.notes.append(
            say(
                "captions are looked for in {names} here, and not in {name}: a dataset file may name that ending",
                names=CAPTION_SUFFIXES,
                name=ending,
            )
        )


def _take(option: str, value: Any, made: Imported, name: str) -> None:
    """Take a value over, or say why not."""
    known = find(TrainOptions, option)
    if known.kind is str and isinstance(value, int | float | list | tuple):  # numbers of blocks, taken apart already
        value = ",".join(f"{one:g}" for one in value) if isinstance(value, list | tuple) else f"{value:g}"
    if known.kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if known.kind is bool and value in (0, 1):
        value = bool(value)
    if option in ("dim", "conv_dim") and made.values["network"] == "lokr" and _is_above(value, known.high):
        made.notes.append(
            say(
                "{name} = {value} is more than a LoKr can have: {most} is taken",
                name=name,
                value=value,
                most=known.high,
            )
        )
        value = int(known.high)
    try:
        made.values[option] = known.parse(value)
    except AtelierError as error:
        made.notes.append(
            say("{name} = {value} is left out: {error}", name=name, value=str(value)[:80], error=error.what)
        )


def _is_above(value: Any, most: float) -> bool:
    with suppress(TypeError, ValueError):
        return float(value) > most
    return False


def _network(rest: dict[str, Any], made: Imported) -> None:
    module = str(rest.pop("network_module", "networks.lora"))
    arguments = _arguments(rest.pop("network_args", []), made)
    on_output = arguments.pop("wd_on_output", True)
    arguments = {name: value for name, value in arguments.items() if _asked(value)}
    if module == "lycoris.kohya":
        arguments = _lycoris(arguments, rest, made)
    elif module in names.MODULES:
        made.values["network"] = names.MODULES[module]
        arguments = {"conv_dim": 0, **arguments}
    elif module != "networks.lora":
        made.notes.append(say("not understood: {name} = {value}", name="network_module", value=module))
    elif arguments.get("conv_dim"):
        made.values["network"] = "locon"
    if arguments.pop("dora_wd", False) or _flag(rest, "dora_wd"):
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
        if made.values["network"] == "lora" and name in options and option != "rslora":
            continue  # nothing there uses it either
        if option in _OF_NETWORKS:
            _take(option, value, made, name)
        else:
            made.notes.append(say("not understood: {name} = {value}", name="network_args", value=f"{name}={value}"))


def _lycoris(arguments: dict[str, Any], rest: Mapping[str, Any], made: Imported) -> dict[str, Any]:
    """Take LyCORIS' algorithm over, and return the arguments with what it does about convolutions by itself."""
    algorithm = str(arguments.pop("algo", "lora")).lower()
    if algorithm not in names.ALGORITHMS:
        made.notes.append(say("not understood: {name} = {value}", name="algo", value=algorithm))
        return arguments
    made.values["network"] = names.ALGORITHMS[algorithm]
    dims = {"conv_dim": rest.get("network_dim", 4), "conv_alpha": rest.get("network_alpha", 1)}
    if made.values["network"] == "locon" and arguments.get("conv_dim") in (0, "0"):
        made.values["network"] = "lora"
    return {**dims, **arguments}


def _base_loras(rest: dict[str, Any], made: Imported) -> None:
    """Take over the files that lie under a training, each with its strength; 1 where none is given, as there."""
    files, strengths = rest.pop("base_weights", []), rest.pop("base_weights_multiplier", [])
    files, strengths = ([one] if isinstance(one, str | int | float) else list(one) for one in (files, strengths))
    strengths += [1.0] * (len(files) - len(strengths))
    try:
        strengths = [float(one) for one in strengths]
    except (TypeError, ValueError):
        made.notes.append(say("not understood: {name} = {value}", name="base_weights_multiplier", value=str(strengths)))
        return
    if files:
        _take(
            "base_loras",
            [f"{file}:{number!r}" for file, number in zip(files, strengths, strict=False)],
            made,
            "base_weights",
        )


def _optimizer(rest: dict[str, Any], made: Imported) -> None:
    wanted = str(rest.pop("optimizer_type", "") or "AdamW")
    for flag, name in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        wanted = name if _flag(rest, flag) else wanted
    known = {name.lower(): name for name in OPTIMIZERS if name not in names.NO_OPTIMIZER} | dict(names.OPTIMIZERS)
    found = known.get(wanted.lower(), wanted if "." in wanted else "")
    if not found:
        made.notes.append(say("not understood: {name} = {value}", name="optimizer_type", value=wanted))
    made.values["optimizer"] = found or "AdamW"
    own = names.OPTIMIZER_ARGUMENTS.get(wanted.lower(), {})
    made.values["optimizer_args"] = {**own, **_arguments(rest.pop("optimizer_args", []), made)}


def _arguments(given: Any, made: Imported) -> dict[str, Any]:
    """Return ``name=value`` texts, in a list or one behind the other, as values; quotes are the command line's."""
    found: dict[str, Any] = {}
    texts = given if isinstance(given, list | tuple) else split_arguments(str(given).replace('"', ""))
    for text in texts:
        try:
            name, value = parse_argument(str(text).replace('"', ""))
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
    given = {
        "unet_lr": rest.pop("unet_lr", None),
        "text_encoder_lr": texts,
        "learning_rate": rest.pop("learning_rate", None),
    }
    rates: dict[str, float | None] = {}
    for name, one in given.items():
        try:
            rates[name] = None if one is None else find(TrainOptions, "learning_rate").parse(one)
        except AtelierError as error:
            rates[name] = None
            what = say("{name} = {value} is left out: {error}", name=name, value=str(one)[:80], error=error.what)
            made.notes.append(what)
    unet, text, base = rates.values()
    base = base or unet or text or made.values["learning_rate"]
    if not unet and not text:
        unet = text = base
    unet, text = (base if unet is None else unet), (base if text is None else text)
    made.values["learning_rate"] = unet or text
    made.values["text_encoder_ratio"] = text / unet if unet else 1.0
    made.values["unet_ratio"] = 1.0 if unet else 0.0
    if _flag(rest, "network_train_unet_only"):
        made.values["text_encoder_ratio"] = 0.0
    if _flag(rest, "network_train_text_encoder_only"):
        made.values |= {"learning_rate": text or base, "text_encoder_ratio": 1.0, "unet_ratio": 0.0}


def _course(rest: dict[str, Any], made: Imported) -> None:
    wanted = str(rest.pop("lr_scheduler", "constant"))
    course = names.SCHEDULERS.get(wanted)
    if course is None and wanted != "adafactor":  # what that optimizer does by itself
        made.notes.append(say("not understood: {name} = {value}", name="lr_scheduler", value=wanted))
    made.values["scheduler"] = course or "constant"
    if "zero_terminal_snr" in rest:
        made.values["zero_terminal_snr"] = "on" if _flag(rest, "zero_terminal_snr") else "off"
    if "save_precision" in rest:
        precision = str(rest.pop("save_precision"))
        _take("save_precision", {"float": "fp32"}.get(precision, precision), made, "save_precision")
    prompts = rest.pop("sample_prompts", None)
    listed = str(prompts or "").split("\n") if not isinstance(prompts, list | tuple) else [str(one) for one in prompts]
    lines = tuple(line.strip() for line in listed if line.strip() and not line.strip().startswith("#"))
    if lines:
        made.values["sample_prompts"] = lines
        return
    for name in [name for name in rest if name.startswith("sample_")]:
        del rest[name]
        made.not_needed.append(name)


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
        made.values["bucket_upscale"] = not _flag(rest, "bucket_no_upscale")

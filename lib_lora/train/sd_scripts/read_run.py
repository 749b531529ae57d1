"""Rates, course, sizes, pictures and samples of sd-scripts' settings."""

from __future__ import annotations

from typing import Any

from lib_lora.data.files import CAPTION_SUFFIXES
from lib_lora.errors import AtelierError
from lib_lora.options import find
from lib_lora.sentences import say
from lib_lora.train.options import TrainOptions
from lib_lora.train.sd_scripts import names
from lib_lora.train.sd_scripts.imported import Imported, take_switch


def take_pictures(rest: dict[str, Any], made: Imported) -> None:
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


def take_rates(rest: dict[str, Any], made: Imported) -> None:
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
            made.left_out(name, one, error)
    unet, text, base = rates.values()
    base = base or unet or text or made.values["learning_rate"]
    if not unet and not text:
        unet = text = base
    unet, text = (base if unet is None else unet), (base if text is None else text)
    made.values["learning_rate"] = unet or text
    made.values["text_encoder_ratio"] = text / unet if unet else 1.0
    made.values["unet_ratio"] = 1.0 if unet else 0.0
    if take_switch(rest, "network_train_unet_only"):
        made.values["text_encoder_ratio"] = 0.0
    if take_switch(rest, "network_train_text_encoder_only"):
        made.values |= {"learning_rate": text or base, "text_encoder_ratio": 1.0, "unet_ratio": 0.0}


def take_course(rest: dict[str, Any], made: Imported) -> None:
    """Take over the schedule, what is saved, and the prompts of samples."""
    wanted = str(rest.pop("lr_scheduler", "constant"))
    course = names.SCHEDULERS.get(wanted)
    if course is None and wanted != "adafactor":  # what that optimizer does by itself
        made.not_understood("lr_scheduler", wanted)
    made.values["scheduler"] = course or "constant"
    if "zero_terminal_snr" in rest:
        made.values["zero_terminal_snr"] = "on" if take_switch(rest, "zero_terminal_snr") else "off"
    if "save_precision" in rest:
        precision = str(rest.pop("save_precision"))
        made.take("save_precision", {"float": "fp32"}.get(precision, precision), "save_precision")
    prompts = rest.pop("sample_prompts", None)
    listed = str(prompts or "").split("\n") if not isinstance(prompts, list | tuple) else [str(one) for one in prompts]
    lines = tuple(line.strip() for line in listed if line.strip() and not line.strip().startswith("#"))
    if lines:
        made.values["sample_prompts"] = lines
        return
    for name in [name for name in rest if name.startswith("sample_")]:
        del rest[name]
        made.not_needed.append(name)


def take_sizes(rest: dict[str, Any], made: Imported) -> None:
    """Take over width, height and what buckets may do."""
    sides = rest.pop("resolution", None)
    if sides is not None:
        listed = sides if isinstance(sides, list) else str(sides).replace("x", ",").split(",")
        try:
            width, height = (int(side) for side in (listed if len(listed) > 1 else [listed[0]] * 2))
            made.values |= {"resolution": width, "resolution_height": height if height != width else 0}
        except (TypeError, ValueError):
            made.not_understood("resolution", str(sides))
    if "bucket_no_upscale" in rest:
        made.values["bucket_upscale"] = not take_switch(rest, "bucket_no_upscale")

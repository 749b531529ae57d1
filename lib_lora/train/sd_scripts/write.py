"""The command of sd-scripts that trains what a run of ours trains."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from typing import Any

from lib_lora.architectures.registry import architecture_of
from lib_lora.blocks.layouts import BASE
from lib_lora.options import options_of
from lib_lora.sentences import Sentence, say
from lib_lora.train.block_numbers import rates_of, recorded
from lib_lora.train.network.arguments import NUMBERS
from lib_lora.train.optimizers import spec_of
from lib_lora.train.options import TrainOptions
from lib_lora.train.options.network import split_strength
from lib_lora.train.sd_scripts import names


@dataclass(frozen=True)
class Command:
    """A command line, and what of the options it does not hold."""

    text: str
    notes: tuple[Sentence, ...]


def sd_scripts_command(options: TrainOptions, *, family: str, steps: int = 0) -> Command:
    """Return the command that comes nearest to a run.

    Args:
        options: of the run.
        family: of the model.
        steps: of the whole run, where they are known: folders and repeats count otherwise there.
    """
    trained = architecture_of(family)
    given: dict[str, Any] = {"pretrained_model_name_or_path": "MODEL.safetensors", "output_dir": "OUT"}
    if trained.labels is not None and trained.labels.v2:
        given["v2"] = True
    told = _plain(options)
    if steps or options.steps:
        told.pop("max_train_epochs", None)
        told["max_train_steps"] = steps or options.steps
    given |= {**told, **_network(options, family), **_learning(options, family)}
    parts = [word for name, value in given.items() for word in _words(name, value)]
    return Command(f"accelerate launch {trained.sd_scripts} " + " ".join(parts), tuple(_notes(options)))


def _plain(options: TrainOptions) -> dict[str, Any]:
    """Return the options that are the same there, where they are not what it does anyway."""
    found: dict[str, Any] = {"caption_extension": ".txt"}
    for name, option in names.PLAIN.items():
        value = getattr(options, option)
        is_said = value not in (0, "", False, "auto", (), None) or name in names.NOT_ZERO
        if is_said and name not in ("batch_size", "zero_terminal_snr"):
            found[name] = value
    if options.color_aug or options.random_crop:
        found.pop("cache_latents_to_disk", None)  # refused there
    for name in ("huber_schedule", "huber_c", "huber_scale"):
        if options.loss_type not in ("huber", "smooth_l1"):
            found.pop(name, None)
    if options.max_tokens == 75:
        del found["max_token_length"]  # what it does by itself; the flag knows longer ones only
    elif not options.max_tokens:
        found["max_token_length"] = 225
    width = options.resolution or 0
    if width:
        found["resolution"] = f"{width},{options.resolution_height or width}"
    if not options.bucket_upscale:
        found["bucket_no_upscale"] = True
    if not options.sample_prompts:
        found = {name: value for name, value in found.items() if not name.startswith("sample_")}
    if options.save_precision == "fp32":
        found["save_precision"] = "float"
    elif options.save_precision in ("fp16", "bf16"):
        found["save_precision"] = options.save_precision
    if options.zero_terminal_snr == "on":
        found["zero_terminal_snr"] = True
    return found


def _network(options: TrainOptions, family: str) -> dict[str, Any]:
    conv = [f"conv_dim={options.conv_dim}", f"conv_alpha={_number(options.conv_alpha)}"]
    numbers = [f"{name}={_number(value)}" for name in NUMBERS if (value := getattr(options, name))]
    more = [*numbers, *(f"{name}={value}" for name, value in recorded(options, family).items())]
    found: dict[str, Any] = {"network_module": "networks.lora"}
    if options.base_loras:
        paths, strengths = zip(*map(split_strength, options.base_loras), strict=True)
        found |= {"base_weights": paths, "base_weights_multiplier": strengths}
    if options.network in ("lora", "locon") and not options.dora:
        arguments = [*(conv if options.network == "locon" else []), *more]
        return found | ({"network_args": arguments} if arguments else {})
    arguments = [f"algo={options.network}", *(["conv_dim=0"] if options.network == "lora" else conv), *more]
    if options.dora:
        arguments += ["dora_wd=True", "wd_on_output=False"]  # LyCORIS' own default is the other axis
    if options.rslora:
        arguments.append("rs_lora=True")
    if options.network == "lokr":
        arguments.append(f"factor={options.lokr_factor}")
    return found | {"network_module": "lycoris.kohya", "network_args": arguments}


def _learning(options: TrainOptions, family: str) -> dict[str, Any]:
    course = {ours: theirs for theirs, ours in reversed(list(names.SCHEDULERS.items()))}
    scheduler = course.get(options.scheduler, options.scheduler)
    if scheduler == "constant" and options.warmup:
        scheduler = "constant_with_warmup"
    if scheduler == "cosine" and options.scheduler_lowest:
        scheduler = "cosine_with_min_lr"
    text = rates_of(options, family).table.get(BASE, 1.0)
    found: dict[str, Any] = {
        "optimizer_type": names.BY_PATH.get(options.optimizer, options.optimizer),
        "learning_rate": options.learning_rate,
        "unet_lr": options.learning_rate * options.unet_ratio,
        "text_encoder_lr": options.learning_rate * options.text_encoder_ratio * text,
        "lr_scheduler": scheduler,
    }
    arguments = {**({} if options.as_sd_scripts else spec_of(options.optimizer).defaults), **options.optimizer_args}
    if arguments:
        found["optimizer_args"] = [f"{name}={value}" for name, value in arguments.items()]
    if not options.text_encoder_ratio:
        found |= {"network_train_unet_only": True}
        del found["text_encoder_lr"]
    if not options.unet_ratio:
        found |= {"network_train_text_encoder_only": True}
        del found["unet_lr"]
    return found


def _words(name: str, value: Any) -> list[str]:
    if value is True:
        return [f"--{name}"]
    values = value if isinstance(value, list | tuple) else [value]
    texts = [_number(one) if isinstance(one, float) else str(one) for one in values]
    if len(texts) == 1 and texts[0].startswith("-"):  # else it would be read as the next argument's name
        return [_quoted(f"--{name}={texts[0]}")]
    return [f"--{name}", *map(_quoted, texts)]


def _number(value: float) -> str:
    """Return a number in few digits that is read back as the same."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _quoted(text: str, *, windows: bool = os.name == "nt") -> str:
    """Return a text as this system's shell takes it: the quotes of one are letters to the other."""
    return subprocess.list2cmdline([text]) if windows else shlex.quote(text)


ELSEWHERE = frozenset(
    [
        "network",
        "conv_dim",
        "conv_alpha",
        "dora",
        "lokr_factor",
        "base_loras",
        "block_lr_weight",
        "down_lr_weight",
        "mid_lr_weight",
        "up_lr_weight",
        "block_lr_zero_threshold",
        "block_dims",
        "block_alphas",
        "conv_block_dims",
        "conv_block_alphas",
        *NUMBERS,
        "optimizer",
        "optimizer_args",
        "learning_rate",
        "unet_ratio",
        "text_encoder_ratio",
        "scheduler",
        "resolution",
        "resolution_height",
        "bucket_upscale",
        "zero_terminal_snr",
        "kind",
        "target_steps",
        "repeats",
        "as_sd_scripts",
        "buckets",
        "save_precision",
        "prior_from_model",
    ]
)
"""Options that are written by functions of their own, or that only choose what others are."""


def _notes(options: TrainOptions) -> list[Sentence]:
    notes = []
    held = ELSEWHERE | set(names.PLAIN.values())
    for one in options_of(TrainOptions):
        value = getattr(options, one.name)
        if one.name == "rslora" and (options.dora or options.network in ("loha", "lokr")):
            continue
        if one.name not in held and value not in (one.default, "", ()):
            notes.append(say("sd-scripts has no “{name}” of this kind: left out", name=one.name))
    if options.scheduler not in names.SCHEDULERS.values():
        notes.append(say("sd-scripts has no scheduler {name}", name=options.scheduler))
    if options.optimizer in names.NO_OPTIMIZER:
        notes.append(say("sd-scripts has no optimizer {name}", name=options.optimizer))
    if options.min_snr_gamma == "auto":
        notes.append(say("min_snr_gamma auto is left to you there: 5 for models that predict noise"))
    if options.prior_from_model and (options.reg_images or options.reg_count or options.dataset_config):
        notes.append(say("sd-scripts has no “{name}” of this kind: left out", name="prior_from_model"))
    if options.images:
        notes.append(say("train_data_dir must hold folders named like 10_name there"))
    if options.trigger:
        notes.append(say("the trigger word must stand in the captions there"))
    return notes

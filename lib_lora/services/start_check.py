"""What can be known of a training before it starts is checked here, so that a refused start leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lib_lora.blocks.tag import broken_tags, find_tags, parse_tag
from lib_lora.errors import InputError
from lib_lora.host.base import Host, check_clip_skip
from lib_lora.sentences import say
from lib_lora.services.given_presets import with_presets
from lib_lora.train.available import check_optimizer
from lib_lora.train.estimate import room_needed
from lib_lora.train.length import check_draws
from lib_lora.train.loss import schedule_for
from lib_lora.train.options import TrainOptions, from_mapping
from lib_lora.train.pictures import count_draws
from lib_lora.train.ratio_optimizer import Group, optimizer_for
from lib_lora.train.recipes import facts_of
from lib_lora.train.regularization import ClassPictures
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.sample_prompts import read_sample
from lib_lora.train.training_set import bucket_step


def fresh_run(host: Host, values: Mapping[str, Any], runs: Path, *, where: str) -> tuple[TrainOptions, RunFolder]:
    """Return the options of a new run over the recipe for the host's model, and its folder, which is not made yet.

    Args:
        host: what will train and render the samples.
        values: the options that somebody gave.
        runs: the folder that will hold the run's folder.
        where: what stands in the error.

    Raises:
        InputError: an option cannot be right, or see `check_start`.
    """
    chosen = with_presets(from_mapping(values, where=where, model=facts_of(host.model)), host)
    folder = RunFolder.fresh(runs / chosen.name)
    check_start(host, chosen, runs)
    return chosen, folder


def check_start(host: Host, options: TrainOptions, runs: Path) -> None:
    """Refuse a training that cannot go well; no picture is opened, so that it is quick.

    Args:
        host: what will train and render the samples.
        options: of the run.
        runs: the folder that will hold the run's folder.

    Raises:
        InputError: a folder is missing or holds no picture, the run would be too long, the optimizer is missing or does
            not take its arguments, a sample prompt names a LoRA that is not there, an option does not fit the model, or
            the disk has no room.
    """
    check_pictures(options)
    check_optimizer(options.optimizer, facts_of(host.model) if host.model.layers else None)
    if host.model.layers:  # a WebUI may not have loaded its checkpoint yet; the run itself checks it then
        schedule_for(host.model, options.zero_terminal_snr)
        bucket_step(host.model, options)
        check_clip_skip(options.clip_skip, host.model)
    dummy = Group([torch.zeros(2, 2, requires_grad=True)], 1.0)
    optimizer_for(options, [dummy])
    check_samples(host, options)
    check_room(runs, room_needed(host.model, options) + _room_of_drawn(host, options, runs))


def _room_of_drawn(host: Host, options: TrainOptions, runs: Path) -> int:
    """Return about how many bytes the regularization pictures take that are still to be drawn, as PNG."""
    wanted = ClassPictures.of(options, host.model, runs) if options.reg_count and host.model.layers else None
    if wanted is None:
        return 0
    return len(wanted.missing()) * 2 * (wanted.request.width or 0) * (wanted.request.height or 0)


def check_samples(host: Host, options: TrainOptions, prompts: Sequence[str] | None = None) -> None:
    """Refuse sample prompts, or other ones in their form, that could not be rendered as they are written.

    Raises:
        InputError: a LoRA tag cannot be used, or the host has no such sampler.
    """
    for text in options.sample_prompts if prompts is None else prompts:
        sample = read_sample(text)
        for error in broken_tags(sample.prompt):
            raise error
        for found in find_tags(sample.prompt):
            host.find_lora(parse_tag(found.text).name)
        if sample.sampler and sample.sampler.casefold() not in map(str.casefold, host.samplers):
            cure = say("Choose one of: {names}.", names=host.samplers)
            raise InputError("There is no sampler “{name}”", name=sample.sampler, where="sample_prompts", cure=cure)


def check_pictures(options: TrainOptions) -> None:
    """Refuse folders that are missing or hold no picture, and a run of which nobody would see the end.

    Raises:
        InputError: naming the folder, and what is in it; or with the number of draws or steps.
    """
    draws = count_draws(options)
    check_draws(options, draws * max(1, options.repeats))


def check_room(folder: Path, needed: int) -> None:
    """Refuse a training for whose files the disk has no room.

    Raises:
        InputError: with both numbers.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            "The files of the run need about {needed}, and the disk has {free} free",
            needed=_size(needed),
            free=_size(free),
            where=str(folder),
            cure="Free some space there, save less often, or take a smaller dim.",
        )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"

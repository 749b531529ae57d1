"""What a run will cost, before it starts: steps exactly, memory by formula, time from measured steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.blocks.layouts import BASE
from lib_lora.data.dataset import FolderScan
from lib_lora.formats.keys import block_of_key
from lib_lora.host.base import LoadedModel
from lib_lora.host.gpu_memory import gpu_memory
from lib_lora.measured import Measured, number
from lib_lora.merge.precision import TYPES
from lib_lora.train import network
from lib_lora.train.every import samples_of, saves_of
from lib_lora.train.length import length_remarks, pictures_a_step, shown_by, total_steps
from lib_lora.train.loss import schedule_for
from lib_lora.train.optimizers import OPTIMIZERS, spec_of
from lib_lora.train.options import TrainOptions
from lib_lora.train.pictures import options_for
from lib_lora.train.ratio_optimizer import measured_states
from lib_lora.train.training_set import plan_for, steps_an_epoch, training_size, usual_goal
from lib_lora.train.varied import any_varies, varied_remarks

RUNTIME = 0.6 * 2**30
"""What CUDA and its libraries take before anything is loaded, in bytes."""


@dataclass(frozen=True)
class TrainEstimate:
    """How a run will go.

    Attributes:
        pictures, reg: training and regularization pictures that are used.
        times: how often an epoch shows a training picture, at least and at most.
        per_epoch, epochs, steps: optimizer steps in an epoch, epochs begun, steps in all.
        side: the training size in pixels.
        buckets: size (width, height) to the number of pictures, largest group first.
        files: LoRA files that will be written.
        samples: sample pictures that will be rendered.
        remarks: what a person should know of the run's length.
        drawn: what the model draws before the run begins, in words.
    """

    pictures: int
    reg: int
    times: tuple[int, int]
    per_epoch: int
    epochs: int
    steps: int
    side: int
    buckets: tuple[tuple[tuple[int, int], int], ...]
    files: int
    samples: int
    remarks: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()


def plan_run(model: LoadedModel, options: TrainOptions, found: FolderScan) -> TrainEstimate:
    """Return the plan of a run on ``found``: the same numbers that the loop will come to.

    Raises:
        InputError: the model cannot be trained so, or the run would be too long.
    """
    schedule_for(model, options.zero_terminal_snr)  # what cannot be trained is said with the plan
    shown = shown_by(options, found)
    sizes = [plan_for(picture.size, model, options_for(picture, options)).bucket for picture in shown]
    times = [picture.repeats for picture in shown if not picture.is_reg]
    per_epoch = steps_an_epoch(model, options, shown)
    steps = total_steps(options, per_epoch)
    return TrainEstimate(
        pictures=len(times),
        reg=len(shown) - len(times),
        times=(min(times), max(times)),
        per_epoch=per_epoch,
        epochs=-(-steps // per_epoch),
        steps=steps,
        side=max(training_size(model, options)),
        buckets=tuple(Counter(sizes).most_common()),
        files=files_kept(options, steps, per_epoch),
        samples=len(options.sample_prompts) * (samples_of(options).times(steps, per_epoch) + 2),
        remarks=(
            *length_remarks(options, found, steps=steps, usual=usual_goal(model, options)),
            *varied_remarks(options, shown),
        ),
    )


SAMPLE_STEPS = 13
"""What a sample picture costs in training steps of one picture: 20 steps with guidance, forward only."""


def seconds_needed(plan: TrainEstimate, options: TrainOptions, pace: float) -> float:
    """Return the seconds of a run whose step takes ``pace`` seconds, its samples included."""
    return pace * (plan.steps + plan.samples * SAMPLE_STEPS / pictures_a_step(options))


def files_kept(options: TrainOptions, steps: int, per_epoch: int) -> int:
    """Return the LoRA files that lie in a run's folder at its end."""
    between = saves_of(options).times(steps, per_epoch)
    return min(between, options.keep_files or between) + 1


def memory_needed(model: LoadedModel, options: TrainOptions) -> int:
    """Return about how many bytes the run needs on the model's device.

    Weights as they lie there, the LoRA in fp32 with its gradients and the optimizer's numbers, and what the UNet keeps
    for the backward pass.
    """
    layers = {id(layer): layer for layer in model.layers.values()}.values()
    weights = sum(p.numel() * p.element_size() for layer in layers for p in layer.parameters(recurse=False))
    trained = 4 * network.trained_numbers(model, options) * (2 + _kept(options))
    width, height = training_size(model, options)
    positions = (width // model.pixels_per_latent) * (height // model.pixels_per_latent)
    kept = activation_bytes(
        model.layers,
        model.family,
        positions=positions,
        batch=options.batch_size,
        itemsize=model.dtype.itemsize,
        trained=options,
    )
    return int(weights + trained + kept + (RUNTIME if model.device.type == "cuda" else 0))


def room_needed(model: LoadedModel, options: TrainOptions) -> int:
    """Return about how many bytes the run's files take on the disk: LoRA files, and states in fp32.

    The steps of an epoch are not known yet where no picture was opened; one that saves by steps is taken to have the
    recipe's goal of them.
    """
    numbers = network.trained_numbers(model, options)
    steps = options.steps or options.target_steps
    files = files_kept(options, steps, max(1, steps // options.epochs))
    states = options.keep_states + 1  # and the one that is being written
    return int(numbers * (TYPES[options.save_precision].itemsize * files + 4 * states * (1 + _kept(options))))


def _kept(options: TrainOptions) -> float:
    """Return the numbers that a run keeps beside each one that is trained."""
    return _states(options.optimizer) + bool(options.ema_decay)


def _states(optimizer: str) -> float:
    """Return the numbers that an optimizer keeps for each one; one that is given by its path is measured."""
    return spec_of(optimizer).states if optimizer in OPTIMIZERS else measured_states(optimizer)


def memory_there(device: torch.device) -> int | None:
    """Return the bytes of a GPU's memory in all; None where it is not known."""
    return gpu_memory(device)[1] if device.type == "cuda" else None


_KEPT = 2.1
"""Values kept for the backward pass for each output of a layer: the output itself, norms, activations.

Counted with ``saved_tensors_hooks`` on the UNets of SD1 (512 px), SDXL (1024 px) and the pocket model, with attention
that keeps no matrix of scores: 2.06, 2.00 and 2.2.
"""


def activation_bytes(
    layers: Mapping[str, nn.Module],
    family: str,
    *,
    positions: int,
    batch: int,
    itemsize: int,
    trained: TrainOptions | None = None,
) -> int:
    """Return what a UNet keeps for the backward pass at ``positions`` latent positions a sample, in bytes."""
    text, unet = trained is not None and bool(trained.text_encoder_ratio), architecture_of(family).required_unet
    values = 0.0
    for layer_key in {id(layer): key for key, layer in layers.items()}.values():
        layer, block = layers[layer_key], block_of_key(layer_key, family)
        width = layer.weight.shape[0]
        if block == BASE:
            values += width * 77 if text else 0
        elif "attn2_to_k" in layer_key or "attn2_to_v" in layer_key:
            values += width * 77
        elif "emb" in layer_key:
            values += width
        else:
            values += width * positions / 4 ** unet.level(block)
    return int(values * batch * itemsize * _KEPT)


class Paces:
    """Seconds of a step on this machine, by model and settings; kept in a small file."""

    def __init__(self, path: Path) -> None:
        self._measured = Measured(path)

    def get(self, model: LoadedModel, options: TrainOptions) -> float | None:
        """Return what is known for these settings, else scaled from the newest others of this model; None at first."""
        known = _rows(self._measured.read(), model)
        exact = known.get(_settings(model, options))
        if exact is not None:
            return exact["seconds"]
        if not known:
            return None
        near = list(known.values())[-1]
        return near["seconds"] * _work(model, options) / near["work"]

    def put(self, model: LoadedModel, options: TrainOptions, seconds: float) -> None:
        """Remember the seconds of a step."""
        with self._measured.changing() as everything:
            known = everything[_machine(model)] = _rows(everything, model)
            known.pop(_settings(model, options), None)  # the newest stands last
            known[_settings(model, options)] = {"seconds": round(seconds, 5), "work": _work(model, options)}


def _rows(table: Mapping[str, Any], model: LoadedModel) -> dict[str, dict[str, float]]:
    """Return what a table knows of this model on this machine; a row that is none is left out."""
    found = table.get(_machine(model))
    rows = found.items() if isinstance(found, dict) else ()
    return {
        name: row
        for name, row in rows
        if isinstance(row, dict) and number(row.get("seconds")) is not None and number(row.get("work")) is not None
    }


def _work(model: LoadedModel, options: TrainOptions) -> float:
    """Return the pixels of a step: what its time grows with."""
    width, height = training_size(model, options)
    return float(width * height * pictures_a_step(options))


def _machine(model: LoadedModel) -> str:
    where = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
    return f"{model.name} on {where}"


def _settings(model: LoadedModel, options: TrainOptions) -> str:
    width, height = training_size(model, options)
    side = str(width) if width == height else f"{width} x {height}"
    text = "text" if options.text_encoder_ratio else "no text"
    unet = "unet" if options.unet_ratio else "no unet"
    more = f" x {options.gradient_accumulation_steps}" if options.gradient_accumulation_steps > 1 else ""
    more += ", encoding" if any_varies(options) else ""
    return f"{side} px x {options.batch_size}{more}, {options.network}, {options.optimizer}, {unet}, {text}"

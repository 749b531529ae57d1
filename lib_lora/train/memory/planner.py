"""Which rung of the ladder a run needs: told from one dry step at the largest bucket."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Protocol

import torch

from lib_lora.errors import InputError
from lib_lora.host.gpu_memory import gpu_memory
from lib_lora.options import AUTO
from lib_lora.sentences import Sentence, say
from lib_lora.train.gradients import batch_loss
from lib_lora.train.memory.ladder import PLAIN, above, saving, usable
from lib_lora.train.optimizers import spec_of
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample

ROOM = 0.92
"""The share of the free memory that a run may plan with: the rest is lost between the pieces."""
GIGA = 2**30


class Meter(Protocol):
    """Memory of a device as it is used."""

    def free(self) -> int:
        """Return the bytes that can be had now."""
        ...

    def begin(self) -> None:
        """Begin to watch."""
        ...

    def needed(self) -> int:
        """Return the most bytes held since `begin`, above what was held then."""
        ...


class GpuMeter:
    """The memory of one GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0

    def free(self) -> int:
        """Return what no program holds, and what torch keeps from before."""
        return gpu_memory(self._device)[0]

    def begin(self) -> None:
        """Begin to watch."""
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def needed(self) -> int:
        """Return the most bytes held since `begin`, above what was held then."""
        return int(torch.cuda.max_memory_allocated(self._device)) - self._before


@dataclass(frozen=True)
class Choice:
    """A rung, and why it was chosen; no reason where there is nothing to say."""

    rung: str
    why: str = ""


def choose(training: Training, meter: Meter | None = None) -> Choice:
    """Return the rung that a run stands on: the one it asks for, else the first with which a step fits.

    Nothing is measured where the memory is the computer's own: what does not fit there is slow and not refused.

    Args:
        training: with its LoRA attached.
        meter: of the device; None: the GPU's, where it is one.

    Raises:
        InputError: the rung that was asked for cannot be had here.
    """
    model, wish = training.model, training.options.memory
    if wish != AUTO:
        if not usable(wish, model):
            raise InputError(
                "Weights in 8 bits cannot be had here", where="memory", cure="Choose auto, checkpointing or swap."
            )
        return Choice(wish)
    if meter is None and model.device.type == "cuda":
        meter = GpuMeter(model.device)
    return Choice(PLAIN) if meter is None else _first_that_fits(training, meter)


def _first_that_fits(training: Training, meter: Meter) -> Choice:
    """Try the rungs in their order, and say what each needed."""
    free, batch = meter.free(), largest_batch(training)
    numbers = sum(p.numel() for adapter in training.lora.adapters.values() for p in adapter.parameters())
    states = int(4 * numbers * spec_of(training.options.optimizer).states)
    height, width = (side * training.model.pixels_per_latent for side in batch[0].latents[0].shape[-2:])
    tried: list[Sentence] = []
    for rung in (PLAIN, *above(PLAIN, training.model)):
        needed = _needed(training, batch, rung, meter)
        if needed is not None and needed + states <= free * ROOM:
            if rung == PLAIN:
                return Choice(rung)
            return Choice(
                rung,
                say(
                    "memory: {rung}, because {free} are free and a step of {n} at {width}×{height} px needs {tried}",
                    rung=rung,
                    free=_size(free),
                    n=len(batch),
                    width=width,
                    height=height,
                    tried=[*tried, say("{size} with {rung}", size=_size(needed + states), rung=rung)],
                ),
            )
        size = say("more than there is") if needed is None else _size(needed + states)
        tried.append(say("{size} with {rung}", size=size, rung=rung))
    last = above(PLAIN, training.model)[-1]
    why = say("memory: a step may not fit even with {rung}, for {free} are free", rung=last, free=_size(free))
    return Choice(last, why)


def _size(count: int) -> str:
    return f"{count / GIGA:.1f} GB"


def largest_batch(training: Training) -> list[Sample]:
    """Return the batch of the first epoch that has the most latents."""
    batches = training.data.batches(0, batch_size=training.options.batch_size, seed=training.options.seed)
    return max(batches, key=lambda batch: sum(item.latents[0].numel() for item in batch))


def _needed(training: Training, batch: list[Sample], rung: str, meter: Meter) -> int | None:
    """Return what a dry step needs on a rung, above what is held now; None where it does not fit."""
    meter.begin()
    try:
        with saving(training.model, rung):
            dry_step(training, batch)
            return meter.needed()
    except Exception as error:  # however torch says it
        if not out_of_memory(error):
            raise
    finally:
        free_memory()
    return None


def dry_step(training: Training, batch: list[Sample]) -> None:
    """Make a step that leaves nothing: no number of the LoRA, of the optimizer or of anything random changes."""
    devices = [training.model.device] if training.model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            with training.computing():
                loss = batch_loss(training, batch, torch.Generator().manual_seed(0))
            loss.backward()
        finally:
            training.optimizer.zero_grad()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice: a GPU's, or the computer's."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "not enough memory" in text)


def free_memory() -> None:
    """Let go of what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

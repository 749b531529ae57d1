"""What of a run can be compared: loss on fixed pictures, noise and timesteps, and drift on neutral captions.

The running loss draws picture, noise and timestep anew at every step; its values say little. What is measured here
changes nothing of the run: every draw has a generator of its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib_lora.host.base import Conditioning
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.train.captions import encode_captions
from lib_lora.train.every import Every, saves_of
from lib_lora.train.loss import Noised, noised
from lib_lora.train.probe import TIMESTEPS
from lib_lora.train.saving import path_at
from lib_lora.train.verdict import best_file, best_row, course, stopped_teaching

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions
    from lib_lora.train.training import Training
    from lib_lora.train.training_set import Sample

MOST = 8
"""Pictures of a kind that are measured at most, spread over all; each costs five forward passes."""
NEUTRAL = ("", "1girl, solo", "a photo of a landscape", "a drawing of a house")
"""Captions that no LoRA should answer to: what changes there is drift."""
AT_ONCE = 4
"""Samples a pass at least: without gradients they need little memory."""
logger = logging.getLogger(__name__)


def measures_of(options: TrainOptions) -> Every:
    """Return when a run is measured on its way."""
    return {"saves": saves_of(options), "epochs": Every(1, 0)}.get(options.steady_loss, Every(0, 0))


@dataclass(frozen=True)
class _Fixed:
    """One sample that is measured: a picture at a noise level under a caption."""

    name: str
    latents: Tensor
    sizes: tuple[int, ...]
    caption: str
    timestep: int
    seed: int


class Measuring:
    """Measures one run, always the same way."""

    def __init__(self, training: Training, *, most: int = MOST) -> None:
        """``most`` pictures are measured at most."""
        self._training = training
        own = [item for item in training.data.samples if not item.picture.is_reg]
        reg = [item for item in training.data.samples if item.picture.is_reg]
        self._own = list(_levels(_spread(own, most)))
        self._held = list(_levels(_spread(training.data.held, most)))
        self._neutral = list(_neutral(_spread(reg or own, len(NEUTRAL))))
        self._before: list[Tensor] = []

    def __call__(self, progress: Progress) -> None:
        """Measure after this step, unless that was done, keep it, and say what follows from it."""
        training = self._training
        known = training.folder.measures()
        if any(row["step"] == training.step for row in known):
            return
        try:
            row = self.row(progress)
        except RuntimeError as error:  # such as memory that a step had and this has not: the LoRA is what a run is for
            logger.warning("%s could not be measured", training.folder.path.name, exc_info=error)
            training.remark(say("a measurement could not be made: {error}", error=error), about="measurement")
            return
        if row is None or not all(map(math.isfinite, (row["steady"], row["drift"], row["held"] or 0.0))):
            return
        training.folder.keep_measures(row)
        if training.events is not None:
            training.events.add(training.step, {key: row[key] for key in ("steady", "held", "drift")})
        _say(training, [*known, row])

    def steady(self, progress: Progress) -> float | None:
        """Return the steady loss alone; None where somebody asked to stop meanwhile."""
        with torch.no_grad(), self._training.to_use(), self._training.computing():
            errors = self._all(self._own, self._errors, progress)
        return None if errors is None else torch.cat(errors).mean().item()

    def row(self, progress: Progress) -> dict[str, Any] | None:
        """Return what is measured after this step; None where somebody asked to stop meanwhile.

        ``steady`` and ``held`` are mean squared errors, ``held`` None where no picture is held out. ``drift`` is how
        far answers to neutral captions are from those of the model without the LoRA, as a share of their size.
        ``pictures`` has the steady loss of each picture.
        """
        training = self._training
        with torch.no_grad(), training.to_use(), training.computing():
            errors = self._all(self._own, self._errors, progress)
            held = self._all(self._held, self._errors, progress)
            drift = self._drift(progress)
        if errors is None or held is None or drift is None:
            return None
        pictures: dict[str, list[float]] = {}
        for one, error in zip(self._own, torch.cat(errors).tolist(), strict=True):
            pictures.setdefault(one.name, []).append(error)
        return {
            "step": training.step,
            "steady": torch.cat(errors).mean().item(),
            "held": torch.cat(held).mean().item() if held else None,
            "drift": drift,
            "pictures": {name: sum(values) / len(values) for name, values in pictures.items()},
        }

    def _all(
        self, fixed: list[_Fixed], act: Callable[[Sequence[_Fixed]], Tensor], progress: Progress
    ) -> list[Tensor] | None:
        """Return what ``act`` makes of all samples, those of one size in a pass; None where it is to stop."""
        found: list[Tensor] = []
        start = 0
        while start < len(fixed):
            if progress.stopped:
                return None
            end = start + 1
            most = start + max(AT_ONCE, self._training.options.batch_size)
            while end < min(most, len(fixed)) and fixed[end].latents.shape == fixed[start].latents.shape:
                end += 1
            found.append(act(fixed[start:end]))
            start = end
        return found

    def _predicted(self, fixed: Sequence[_Fixed]) -> tuple[Tensor, Noised]:
        training = self._training
        model = training.model
        clean = torch.stack([one.latents for one in fixed])
        noise = [torch.randn(one.latents.shape, generator=torch.Generator().manual_seed(one.seed)) for one in fixed]
        seen = noised(
            clean.to(model.device),
            torch.stack(noise).to(model.device),
            torch.tensor([one.timestep for one in fixed], device=model.device),
            alphas_cumprod=training.alphas_cumprod,
            prediction_type=model.prediction_type,
        )
        cond = replace(self._encoded([one.caption for one in fixed]), sizes=torch.tensor([one.sizes for one in fixed]))
        return model.predict(seen.latents.to(model.dtype), seen.timesteps, cond).float(), seen

    def _encoded(self, captions: Sequence[str]) -> Conditioning:
        training = self._training
        if training.trains_text:
            return encode_captions(training.model, training.options, captions)
        return training.captions.encode(captions)

    def _errors(self, fixed: Sequence[_Fixed]) -> Tensor:
        predicted, seen = self._predicted(fixed)
        return (predicted - seen.target.float()).pow(2).mean(dim=(1, 2, 3)).cpu()

    def _drift(self, progress: Progress) -> float | None:
        if not self._before:
            attached = self._training.attached
            with nullcontext() if attached is None else attached.paused():
                before = self._all(self._neutral, lambda fixed: self._predicted(fixed)[0].cpu(), progress)
            if before is None:
                return None
            self._before = before
        now = self._all(self._neutral, lambda fixed: self._predicted(fixed)[0].cpu(), progress)
        if now is None:
            return None
        change = sum((one - two).pow(2).sum().item() for one, two in zip(now, self._before, strict=True))
        size = sum(one.pow(2).sum().item() for one in self._before)
        return (change / size) ** 0.5 if size else 0.0


def measuring_of(training: Training) -> Measuring | None:
    """Return what measures a run, or None where it is not measured on its way: then nothing of it costs anything."""
    each = training.steps_per_epoch
    return Measuring(training) if measures_of(training.options).times(training.total, each) else None


def _say(training: Training, rows: Sequence[Mapping[str, Any]]) -> None:
    """Say with the run what its measurements come to."""
    training.remark(course(rows, training.total), about="course")
    best = best_row(rows)
    if best is not None and path_at(training, best["step"]).is_file():
        training.remark(best_file(best, path_at(training, best["step"]).name), about="best file")
    still = stopped_teaching(rows)
    if still:
        training.remark(
            say("{n} {n:picture has|pictures have} stopped teaching: {names}", n=len(still), names=still),
            about="stopped teaching",
        )


def _spread(items: Sequence[Sample], most: int = MOST) -> list[Sample]:
    """Return at most so many, evenly spread; by size, so that few passes are needed."""
    chosen = [items[index * len(items) // most] for index in range(most)] if len(items) > most else list(items)
    return sorted(chosen, key=lambda item: tuple(item.latents[0].shape))


def _levels(items: Sequence[Sample]) -> Iterator[_Fixed]:
    for number, item in enumerate(items):
        for step in TIMESTEPS:
            seed = 1_000_003 * number + step
            yield _Fixed(item.picture.path.name, item.latents[0], item.sizes[0], item.caption, step, seed)


def _neutral(items: Sequence[Sample]) -> Iterator[_Fixed]:
    for number, caption in enumerate(NEUTRAL):
        item = items[number % len(items)]
        for step in TIMESTEPS:
            yield _Fixed("", item.latents[0], item.sizes[0], caption, step, 1_000_003 * (number + MOST) + step)

"""About 30 steps on the real pictures before a run: which learning rate suits, what a step takes, how much memory.

A rate range test (Smith, arXiv:1506.01186): the rate rises exponentially from step to step, and after each the loss on
fixed pictures, noise and timesteps is taken, which is calm enough to be read where the running loss is not. A tenth of
the rate at which it was lowest is suggested (fastai's rule): at the lowest point the steps are already too long. An
optimizer that finds its rate itself makes plain steps and tells what it found.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from lib_lora.errors import AtelierError, StoppedError
from lib_lora.host.base import LoadedModel
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence, say
from lib_lora.train.available import usual_rate
from lib_lora.train.estimate import memory_needed
from lib_lora.train.length import total_steps
from lib_lora.train.measures import Measuring
from lib_lora.train.memory.fit import Fit, ready
from lib_lora.train.optimizers import own_rate, spec_of
from lib_lora.train.options import TrainOptions
from lib_lora.train.recipes import facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import BAD_STEPS, one_step
from lib_lora.train.training import Training, start

STEPS = 30
DECADES = 2.0
"""The range goes so many powers of ten below and above the optimizer's usual rate."""
BELOW_LOWEST = 10.0
"""The suggestion is the rate of the lowest loss, divided by this."""
SMOOTHED = 1
"""Neighbors on either side that a loss is averaged with before the lowest is looked for."""
LEAST_FALL = 0.002
"""The loss must fall by this share, else nothing was learned at any rate."""
FAR_BEYOND = 4.0
"""A loss so many times that before the first step ends the probe: higher rates say nothing more."""
PICTURES = 2
"""Pictures that the loss is taken on after each step; each costs five forward passes."""
QUIET_RUN = {
    "save_every_epochs": 0,
    "save_every_steps": 0,
    "sample_prompts": (),
    "steady_loss": "off",
    "tensorboard": False,
    "warmup": 0.0,
    "ema_decay": 0.0,
    "scheduler": "constant",
    "cache_to_disk": False,
}
"""What of a run is left out: nothing is saved or shown, and no schedule acts beside the rising rate."""


@dataclass(frozen=True)
class Probed:
    """What a probe found.

    Attributes:
        rates, losses: the rate of each step and the steady loss after it; rates are the optimizer's own where it finds
            them itself.
        suggested: a learning rate to take; None where none can be given.
        found: the step size that an optimizer found by itself; None for others.
        seconds: of a step, the median.
        steps: of the run that was asked about.
        memory: bytes on the model's device: the most that was in use on a GPU, else by formula.
        note: all that in a sentence for people.
        remarks: what a person should know of the pictures and the steps.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None
    found: float | None
    seconds: float
    steps: int
    memory: int
    note: Sentence
    remarks: tuple[str, ...] = ()

    @property
    def run_seconds(self) -> float:
        """Seconds of the whole run, without its samples."""
        return self.seconds * self.steps


def probe(
    model: LoadedModel, options: TrainOptions, progress: Progress, *, runs: Path | None = None, steps: int = STEPS
) -> Probed:
    """Try a run's first steps in a folder that goes again; the model is left as it was.

    ``runs`` is where lies what runs share, such as regularization pictures that the model drew.

    Raises:
        StoppedError: somebody asked to stop: half of the rates say nothing.
        InputError, AtelierError: what the run itself would raise.
    """
    still: dict[str, Any] = {name: value for name, value in QUIET_RUN.items() if hasattr(options, name)}
    by_itself = _finds_itself(options)
    with tempfile.TemporaryDirectory(prefix="atelier-probe-") as place, ExitStack() as stack:
        folder = RunFolder.fresh(Path(place) / "probe")
        training = start(model, replace(options, **still), folder, progress, runs=runs, keeps=False)
        asked, training.total = total_steps(options, training.steps_per_epoch), steps
        usual = usual_rate(options.optimizer, facts_of(model))
        course = [usual * 10 ** (DECADES * (2 * n / max(1, steps - 1) - 1)) for n in range(steps)]
        if not by_itself:
            training.course = [rate / options.learning_rate for rate in course]
        fit = stack.enter_context(ready(training))
        cuda = model.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(model.device)
        made = _by_itself(training, fit, progress) if by_itself else _rising(training, fit, progress, course)
        started, remarks = not training.optimizer.has_not_started, (*training.data.problems, *folder.remarks())
        memory = torch.cuda.max_memory_allocated(model.device) if cuda else memory_needed(model, options)
    found = made.rates[-1] if by_itself and started else None
    suggested = None if by_itself else suggestion(made.before, made.rates, made.losses)
    note = _note(options, suggested, found, by_itself)
    seconds = sorted(made.seconds)[len(made.seconds) // 2]
    return Probed(tuple(made.rates), tuple(made.losses), suggested, found, seconds, asked, memory, note, remarks)


@dataclass
class _Steps:
    """The steps of a probe: each one's rate, the steady loss after it, its seconds; ``before`` is the loss before."""

    before: float = math.inf
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def _by_itself(training: Training, fit: Fit, progress: Progress) -> _Steps:
    """Make plain steps; no loss is taken, for there is no rate to choose.

    Raises:
        AtelierError: see `probe`.
    """
    made = _Steps()
    for _ in range(training.total):
        began = time.monotonic()
        row = fit.step(one_step)
        made.seconds.append(time.monotonic() - began)
        made.rates.append(row["rate"])
        made.losses.append(math.inf)
        progress.passed(len(made.rates), training.total, say("probing"))
    return made


def _rising(training: Training, fit: Fit, progress: Progress, course: Sequence[float]) -> _Steps:
    """Make steps at the rates of ``course``, and take the loss after each; those far beyond what suits are left out.

    Raises:
        AtelierError: see `probe`.
    """
    measuring = Measuring(training, most=PICTURES)
    made = _Steps(before=_steady(measuring, progress))
    if not math.isfinite(made.before):
        raise AtelierError(
            "The loss is no finite number before the first step",
            where=training.model.name,
            cure="Choose another precision, or look whether the model draws pictures.",
        )
    for rate in course:
        began = time.monotonic()
        try:
            fit.step(one_step)
        except AtelierError:
            # A rate beyond all that suits ends in no finite numbers; where no step had any, it is not the rate.
            if training.bad_steps < BAD_STEPS or training.left_out > training.step:
                raise
            break
        made.seconds.append(time.monotonic() - began)
        loss = _steady(measuring, progress)
        made.rates.append(rate)
        made.losses.append(loss if math.isfinite(loss) else math.inf)
        progress.passed(len(made.rates), len(course), say("probing"))
        if made.losses[-1] > FAR_BEYOND * made.before:
            break
    return made


def _steady(measuring: Measuring, progress: Progress) -> float:
    """Return the steady loss.

    Raises:
        StoppedError: somebody asked to stop meanwhile.
    """
    loss = measuring.steady(progress)
    if loss is None:
        raise StoppedError
    return loss


def _finds_itself(options: TrainOptions) -> bool:
    return bool(spec_of(options.optimizer).automatic) or own_rate(options.optimizer, options.optimizer_args)


def suggestion(before: float, rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return a tenth of the rate of the lowest smoothed loss, to one digit; None where no rate taught anything.

    Args:
        before: the loss before the first step.
        rates: of the steps, rising.
        losses: after each.
    """
    smooth = []
    for n in range(len(losses)):
        near = losses[max(0, n - SMOOTHED) : n + SMOOTHED + 1]
        smooth.append(sum(near) / len(near))
    if not smooth or min(smooth) > before * (1 - LEAST_FALL):
        return None
    return float(f"{rates[smooth.index(min(smooth))] / BELOW_LOWEST:.0e}")


def _note(options: TrainOptions, suggested: float | None, found: float | None, by_itself: bool) -> Sentence:
    if by_itself and found is not None:
        return say(
            "{optimizer} finds its rate itself, and has come to {rate:.2g}; leave the learning rate as it is",
            optimizer=options.optimizer,
            rate=found,
        )
    if by_itself:
        return say(
            "{optimizer} finds its rate itself, and had not begun to in these steps; leave the learning rate as it is",
            optimizer=options.optimizer,
        )
    if suggested is None:
        return say("no rate that was tried lowered the loss: are these the right pictures, and is alpha near dim?")
    return say("a learning rate of {rate:g} suits these pictures", rate=suggested)

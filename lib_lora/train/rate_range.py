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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lib_lora.errors import AtelierError
from lib_lora.host.base import LoadedModel
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence, say
from lib_lora.train.available import usual_rate
from lib_lora.train.estimate import memory_needed
from lib_lora.train.length import total_steps
from lib_lora.train.measures import Measuring
from lib_lora.train.memory.fit import fitted
from lib_lora.train.optimizers import own_rate, spec_of
from lib_lora.train.options import TrainOptions
from lib_lora.train.recipes import facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.step import one_step
from lib_lora.train.training import start

STEPS = 30
DECADES = 2.0
"""The range goes so many powers of ten below and above the optimizer's usual rate."""
BELOW_LOWEST = 10.0
"""The suggestion is the rate of the lowest loss, divided by this."""
SMOOTHED = 1
"""Neighbors on either side that a loss is averaged with before the lowest is looked for."""
LEAST_FALL = 0.002
"""The loss must fall by this share, else nothing was learned at any rate."""
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
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None
    found: float | None
    seconds: float
    steps: int
    memory: int
    note: Sentence

    @property
    def run_seconds(self) -> float:
        """Seconds of the whole run, without its samples."""
        return self.seconds * self.steps


def probe(model: LoadedModel, options: TrainOptions, progress: Progress, *, steps: int = STEPS) -> Probed:
    """Try a run's first steps in a folder that goes again; the model is left as it was.

    Raises:
        InputError, AtelierError: what the run itself would raise.
    """
    still: dict[str, Any] = {name: value for name, value in QUIET_RUN.items() if hasattr(options, name)}
    quiet = replace(options, **still)
    by_itself = _finds_itself(options)
    with tempfile.TemporaryDirectory(prefix="atelier-probe-") as place, ExitStack() as stack:
        folder = RunFolder.fresh(Path(place) / "probe")
        training = start(model, quiet, folder, progress)
        asked, training.total = total_steps(options, training.steps_per_epoch), steps
        usual = usual_rate(options.optimizer, facts_of(model))
        course = [usual * 10 ** (DECADES * (2 * n / max(1, steps - 1) - 1)) for n in range(steps)]
        if not by_itself:
            training.course = [rate / options.learning_rate for rate in course]
        for base in training.bases:
            stack.enter_context(attach(model, base.lora, base.strength, strategy="folded"))
        around = training.dropout.around(training.lora)
        training.attached = stack.enter_context(attach(model, around, 1.0, strategy="factors"))
        fit = stack.enter_context(fitted(training))
        measuring = Measuring(training, most=PICTURES)
        cuda = model.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(model.device)
        times: list[float] = []
        rates: list[float] = []
        losses: list[float] = []
        before = measuring.steady(progress)
        while len(rates) < steps and not progress.stopped:
            began = time.monotonic()
            try:
                row = fit.step(one_step)
            except AtelierError:  # no finite numbers five times in a row: a rate beyond all that suits
                if not rates or by_itself:
                    raise
                break
            times.append(time.monotonic() - began)
            loss = math.nan if by_itself else measuring.steady(progress)
            rates.append(row["rate"] if by_itself else course[len(rates)])
            losses.append(math.inf if loss is None or not math.isfinite(loss) else loss)
            progress.update(len(rates), steps, say("probing"))
            if before is not None and not by_itself and losses[-1] > 4 * before:
                break  # far beyond what suits: more says nothing
        started = not training.optimizer.has_not_started
        memory = torch.cuda.max_memory_allocated(model.device) if cuda else memory_needed(model, options)
    seconds = sorted(times)[len(times) // 2] if times else 0.0
    found = rates[-1] if by_itself and rates and started else None
    suggested = None if by_itself else suggestion(before or math.inf, rates, losses)
    note = _note(options, suggested, found, by_itself)
    return Probed(tuple(rates), tuple(losses), suggested, found, seconds, asked, memory, note)


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

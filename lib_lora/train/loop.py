"""The training loop: a sequence of named steps over one run folder."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.train.event_file import EventFile
from lib_lora.train.every import Every, samples_of, saves_of
from lib_lora.train.measures import measures_of, measuring_of
from lib_lora.train.memory.fit import Fit, fitted
from lib_lora.train.run_folder import STATE_SECONDS, RunFolder
from lib_lora.train.saving import save_lora, save_on_the_way, save_state
from lib_lora.train.step import one_step
from lib_lora.train.together import LostError
from lib_lora.train.training import Training

Sampler = Callable[[RunFolder, int, Progress], Sequence[str]]
"""Called with the run, its step and who may stop it, while the LoRA is attached: renders the sample prompts.

It returns what is to be said of the pictures.
"""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run came to: the file (None where it was stopped before its end), steps, the mean of the last losses."""

    lora: Any
    steps: int
    finished: bool
    loss: float


def run(
    training: Training, progress: Progress, sampler: Sampler | None = None, *, state_seconds: float = STATE_SECONDS
) -> TrainResult:
    """Train to the end, or until ``progress`` asks to stop; the state is saved either way.

    May be called again on the same ``training`` after a stop: it goes on where it was.

    Raises:
        AtelierError: loss or gradients are no numbers several times in a row, or the LoRA holds numbers that are not
            finite; a state that was saved before stays.
    """
    path, finished = None, False
    saves, samples = saves_of(training.options), samples_of(training.options)
    with ExitStack() as stack:
        for base in training.bases:
            stack.enter_context(attach(training.model, base.lora, base.strength, strategy="folded"))
        _sample(training, progress, sampler if training.step == 0 else None)  # what later samples are compared with
        training.attached = stack.enter_context(
            attach(training.model, training.dropout.around(training.lora), 1.0, strategy="factors")
        )
        fit = stack.enter_context(fitted(training))
        if training.options.tensorboard:
            training.events = EventFile(training.folder.events, training.step + 1)
        measure, measured = measuring_of(training), measures_of(training.options)
        if measure is not None and measured.comes(training.step, training.steps_per_epoch):
            measure(progress)  # before the first step; or where a stop came between a file and its measurement
        began, first = time.monotonic(), training.step
        saved = began
        while training.step < training.total and not progress.stopped:
            row = _step(training, fit)
            training.folder.log(row)
            if training.events is not None:
                training.events.add(training.step, {key: _finite(row[key]) for key in ("loss", "mean", "rate")})
            pace = (time.monotonic() - began) / (training.step - first)
            progress.update(
                training.step,
                training.total,
                say("loss {loss:.4f} · {seconds:.2f} s a step", loss=row["mean"], seconds=pace),
            )
            if _due(training, saves):
                save_on_the_way(training)
                saved = time.monotonic()
            elif time.monotonic() - saved > state_seconds:
                save_state(training)
                saved = time.monotonic()
            if _due(training, samples):
                _sample(training, progress, sampler)
            if measure is not None and _due(training, measured):
                measure(progress)
        finished = training.step >= training.total
        if training.step:
            save_state(training)
        if finished:
            path = save_lora(training, training.folder.lora_path())
            if measure is not None:
                measure(progress)
            _sample(training, progress, sampler)
    recent = training.recent or [math.nan]
    return TrainResult(path, training.step, finished, sum(recent) / len(recent))


def _step(training: Training, fit: Fit) -> dict[str, Any]:
    """Return the row of the next step.

    Raises:
        AtelierError: see `run`; where another process is lost, the state is saved first.
    """
    try:
        return fit.step(one_step)
    except LostError:
        training.optimizer.zero_grad()
        if training.step:
            if training.state_copy is not None:
                training.folder = RunFolder(training.state_copy)
            save_state(training)
        raise


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _due(training: Training, every: Every) -> bool:
    """Whether something comes after this step; the last one has all of it anyway."""
    return training.step < training.total and every.comes(training.step, training.steps_per_epoch)


def _sample(training: Training, progress: Progress, sampler: Sampler | None) -> None:
    """Render the samples of this step, once; one that fails is a remark, for the LoRA is what a run is for."""
    if sampler is None or training.sampled_at == training.step or progress.stopped:
        return
    training.sampled_at = training.step
    try:
        with training.to_use(), nullcontext() if training.fit is None else training.fit.paused():
            notes = sampler(training.folder, training.step, progress)
    except Exception as error:  # whatever a host's own picture may raise
        logger.warning("the samples of %s failed", training.folder.path.name, exc_info=error)
        training.remark(say("a sample could not be made: {error}", error=error))
        return
    for note in notes:
        training.remark(say("of the samples: {note}", note=note))

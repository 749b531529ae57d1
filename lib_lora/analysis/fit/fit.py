"""Find block weights: the least change of the model's own prediction while the subject stays as well learned as asked.

Two losses over the same weights w, a number a block: the *subject's* error of denoising ``E‖ε_w − ε‖²`` on its
pictures, and the *drift* ``E‖ε_w − ε_0‖²`` from the model without the LoRA, on other prompts and outside the subject's
mask. From the prediction with each block moved a little both are known as quadratics of w (`quadratic`), and the least
drift is found exactly for any limit of the subject's loss; then the same again from there. No gradient passes through
the model, so this works wherever a LoRA can be attached, and all block settings of a question share a batch. The
search begins at the one weight for all blocks that just keeps the subject: near it the quadratics are what is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from lib_lora.analysis.fit.parts import Parts, turned
from lib_lora.analysis.fit.quadratic import least_while, on_grid
from lib_lora.analysis.fit.samples import Numbers, Predictor, Question, text_alone
from lib_lora.analysis.fit.spec import FitResult, FitSpec, Losses, State
from lib_lora.analysis.fit.window import WHOLE, Window, losses_through, part_of, windows
from lib_lora.blocks.layouts import OTHER
from lib_lora.errors import InputError
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import LoadedModel
from lib_lora.live.attach import attach
from lib_lora.live.targets import uniform_multipliers
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

MOVE = 0.25
"""By how much a block's weight is moved to see what it does."""
STRENGTHS = (0.85, 0.7, 0.5, 0.3)
"""One weight for all blocks: with them it is found where the subject's limit lies on the way from ALL to nothing."""
EVEN = 2.0
"""Divided by the number of questions: how much is paid for weights that differ, so that few questions teach little."""
ALONG = (0.5, 0.75, 0.9, 1.0, 1.1, 1.25)
"""On the way from the first point to each that was found these are tried, as parts of the way, and beyond it."""
DIGITS = 2
"""Of the weights that are tried last: those that are said are those that were measured."""
WITHIN = 1e-3
"""By this share the subject's loss may pass its limit."""


def blocks_of(model: LoadedModel, lora: LoraFile) -> tuple[str, ...]:
    """Return the blocks of a file that get a weight; what lies outside all blocks stays at 1."""
    found = {block_of_key(key, model.family) for key in lora.adapters}
    return tuple(block for block in uniform_multipliers(model.family) if block in found and block != OTHER)


def find_weights(
    model: LoadedModel,
    lora: LoraFile,
    subject: Sequence[Question],
    neutral: Sequence[Question],
    spec: FitSpec,
    *,
    state: State | None = None,
    keep: Callable[[State], None] = lambda _: None,
    progress: Progress = QUIET,
) -> FitResult:
    """Return the weights of least drift that keep the subject.

    Args:
        model: with no LoRA on it; nothing of it stays changed.
        lora: the file.
        subject: noised pictures of the subject, with what the model should say.
        neutral: questions that the LoRA should not change; their targets are asked of the model where they are None.
        spec: what is wanted.
        state: where an earlier search with the same questions stood.
        keep: is given the state after each round.
        progress: is told of every prediction, and may stop it; from the state that was kept last it goes on.

    Raises:
        InputError: the LoRA does not fit, or it has not learned the subject: its loss is not lower with it.
        StoppedError: somebody asked to stop.
    """
    blocks = blocks_of(model, lora)
    total = calls_of(model, lora, subject, neutral, spec)
    with torch.no_grad(), attach(model, lora, 0.0, strategy="factors") as attached:
        predictor = Predictor(
            model, attached, clip_skip=spec.clip_skip, chunk=spec.chunk, progress=progress, total=total
        )
        search = _Search(predictor, blocks, uniform_multipliers(model.family), subject, neutral, spec)
        return search.run(state or State(), keep)


def calls_of(
    model: LoadedModel, lora: LoraFile, subject: Sequence[Question], neutral: Sequence[Question], spec: FitSpec
) -> int:
    """Return about how many samples a search lets the model predict."""
    return (len(subject) + len(neutral)) * settings_of(spec.rounds, len(blocks_of(model, lora)), cut=spec.parts > 1)


def settings_of(rounds: int, blocks: int, *, cut: bool) -> int:
    """Return about how many settings of so many blocks a search asks each question with; ``cut``: steps are chosen."""
    along = len(ALONG)
    return 4 + len(STRENGTHS) + rounds * (1 + blocks + along + (2 + along if cut else 0))


def asked_of_model(predictor: Predictor, questions: Sequence[Question], nothing: Numbers) -> list[Question]:
    """Return questions with the model's own answers, without the LoRA, as targets where there is none."""
    missing = [one for one in questions if one.target is None]
    answers = iter(predictor.said(missing, [nothing]) if missing else [])
    return [replace(one, target=next(answers)) if one.target is None else one for one in questions]


class _Search:
    """The rounds."""

    def __init__(
        self,
        predictor: Predictor,
        blocks: Sequence[str],
        every: Mapping[str, float],
        subject: Sequence[Question],
        neutral: Sequence[Question],
        spec: FitSpec,
    ) -> None:
        self.predictor, self.blocks, self.every, self.spec = predictor, blocks, dict(every), spec
        self.timesteps = len(predictor.model.alphas_cumprod)
        nothing = dict.fromkeys(self.every, 0.0)
        self.neutral = asked_of_model(predictor, neutral, nothing)
        self.subject = asked_of_model(predictor, subject, self.every)
        self.counts = len(self.neutral), len(self.subject)
        self.start = np.clip(np.ones(len(blocks)), spec.low, spec.high)
        less = [strength * self.start for strength in STRENGTHS]
        first = [nothing, self.every, *map(self._numbers, less)]
        self.before, self.plain, *losses = self._losses([(numbers, WHOLE) for numbers in first])
        if self.plain.subject >= self.before.subject:
            raise InputError(
                "The LoRA has not learned this subject: without it the model is no worse on these pictures "
                "({with_it:.4f} with it, {without:.4f} without)",
                with_it=self.plain.subject,
                without=self.before.subject,
                where=say("pictures"),
                cure="Check the pictures and their captions.",
            )
        self.allowed = self.before.subject - spec.keep * (self.before.subject - self.plain.subject)
        self.begin = self._even([1.0, *STRENGTHS], [self.plain.subject, *(one.subject for one in losses)])

    def _even(self, strengths: Sequence[float], subject: Sequence[float]) -> np.ndarray:
        """Return the least weight for all blocks that keeps the subject, by straight lines between measured ones."""
        found = 1.0
        for (more, one), (less, other) in pairwise(zip(strengths, subject, strict=True)):
            if other > self.allowed:
                found = more - (more - less) * max(0.0, (self.allowed - one) / (other - one))
                break
            found = less
        return np.clip(found * self.start, self.spec.low, self.spec.high)

    def run(self, state: State, keep: Callable[[State], None]) -> FitResult:
        """Return the best of all rounds."""
        spec, parts = self.spec, self.spec.parts
        points = [np.array([point[block] for block in self.blocks]) for point in state.points]
        found = [Window(first, last, parts) for first, last in state.windows]
        while len(points) < spec.rounds:
            at = points[-1] if points else self.begin
            point, window = self._round(at, last=len(points) == spec.rounds - 1)
            points, found = [*points, point], [*found, window]
            keep(
                State(
                    tuple(dict(zip(self.blocks, map(float, point), strict=True)) for point in points),
                    tuple((one.first, one.last) for one in found),
                )
            )
        return self._best(list(zip(points, found, strict=True)))

    def _round(self, at: np.ndarray, *, last: bool) -> tuple[np.ndarray, Window]:
        """Return the weights of least drift, as the quadratics around ``at`` tell it, and the steps for them."""
        subject, drift = self._quadratics(self.subject, at), self._quadratics(self.neutral, at)
        low, high = self.spec.low - at, self.spec.high - at
        steps = {}
        for window in windows(self.spec.parts):
            near = drift.through(window), subject.through(window)
            priced = [one.evened(EVEN / max(1, count), at) for one, count in zip(near, self.counts, strict=True)]
            step = least_while(priced[0], priced[1], self.allowed, low, high, limited=near[1])
            over = max(0.0, near[1].value(step) - self.allowed * (1 + WITHIN))
            steps[window] = (over, near[0].value(step), step)
        window = min(steps, key=lambda one: steps[one][:2])
        step = steps[window][2]
        if self.spec.halves and last:
            step = on_grid(drift.through(window), subject.through(window), self.allowed, at, low, high)
        return at + step, window

    def _quadratics(self, questions: Sequence[Question], at: np.ndarray) -> Parts:
        """Return the mean loss near a point as quadratics: of each part of sampling, with the LoRA on, and off."""
        moves = np.where(at >= MOVE, -MOVE, MOVE)
        moved = (at + move * unit for move, unit in zip(moves, np.eye(len(at)), strict=True))
        settings = [self._numbers(one) for one in (at, *moved)]
        places = [n for n, block in enumerate(self.blocks) if text_alone({block: 1.0})[block]]
        if self.spec.parts > 1:
            settings += [text_alone(settings[n]) for n in (0, *(1 + place for place in places))]
        answers, count = self.predictor.said(questions, settings), len(at)
        made = Parts.of(count, self.spec.parts)
        for one, said in zip(questions, answers, strict=True):
            errors, part = one.errors(said).cpu(), part_of(one, self.timesteps, self.spec.parts)
            size = errors.shape[1] * len(questions)
            made.on[part] = made.on[part].plus(turned(errors[: count + 1], moves, range(count), count), 1 / size)
            if self.spec.parts > 1:
                made.off[part] = made.off[part].plus(turned(errors[count + 1 :], moves, places, count), 1 / size)
        return made

    def _best(self, points: Sequence[tuple[np.ndarray, Window]]) -> FitResult:
        """Return the tried weights of least drift within the limit; ALL where none is."""
        spec, whole = self.spec, Window(0, self.spec.parts, self.spec.parts)
        plain = [(self.start, whole), (self.begin, whole)]
        if spec.halves:
            tried = [plain[0], points[-1]]
        else:
            near = [(self.begin + part * (point - self.begin), window) for point, window in points for part in ALONG]
            tried = [*plain, *near]
        tried = [(np.clip(one.round(DIGITS), spec.low, spec.high), window) for one, window in tried]
        found = self._losses([(self._numbers(one), window) for one, window in tried])
        most = self.allowed * (1 + WITHIN)
        rows = [(one, loss) for one, loss in zip(tried, found, strict=True) if loss.subject <= most]
        (best, window), loss = (
            min(rows, key=lambda row: row[1].drift)
            if rows
            else min(zip(tried, found, strict=True), key=lambda row: row[1].subject)
        )
        calls = self.predictor.calls
        return FitResult(self._named(best), self.before, self.plain, loss, self.allowed, calls, window)

    def _losses(self, settings: Sequence[tuple[Numbers, Window]]) -> list[Losses]:
        subject, drift = (losses_through(self.predictor, some, settings) for some in (self.subject, self.neutral))
        return [Losses(*pair) for pair in zip(subject, drift, strict=True)]

    def _numbers(self, point: np.ndarray) -> dict[str, float]:
        return self.every | {block: float(value) for block, value in zip(self.blocks, point, strict=True)}

    def _named(self, point: np.ndarray) -> dict[str, float]:
        return {block: round(float(value), DIGITS) + 0.0 for block, value in zip(self.blocks, point, strict=True)}

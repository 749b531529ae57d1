"""Find block weights: the least change of the model's own prediction while the subject stays as well learned as asked.

Two losses over the same weights w, a number a block: the *subject's* error of denoising ``E‖ε_w − ε‖²`` on its
pictures, and the *drift* ``E‖ε_w − ε_0‖²`` from the model without the LoRA, on other prompts and outside the subject's
mask. From the prediction with each block moved a little both are known as quadratics of w (`quadratic`), and the least
drift is found exactly for any limit of the subject's loss; then the same again from there. No gradient passes through
the model, so this works wherever a LoRA can be attached, and all block settings of a question share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lib_lora.analysis.fit.quadratic import Quadratic, least_while, on_grid
from lib_lora.analysis.fit.samples import Numbers, Predictor, Question, losses
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
BETWEEN = (0.5, 0.75, 0.9, 1.0)
"""On the way from ALL to each point that was found these weights are tried, as parts of the way."""
DIGITS = 2
"""Of the weights that are tried last: those that are said are those that were measured."""
WITHIN = 1e-3
"""By this share the subject's loss may pass its limit."""


@dataclass(frozen=True)
class FitSpec:
    """What is wanted.

    Attributes:
        keep: the share of what the LoRA has learned of the subject that must stay, 0 to 1.
        low, high: bounds of each weight.
        rounds: how often the quadratics are taken anew.
        halves: whether only 0, 0.5 and 1 are wanted.
        clip_skip: as for pictures.
        chunk: settings in a batch.
    """

    keep: float = 0.97
    low: float = 0.0
    high: float = 1.0
    rounds: int = 3
    halves: bool = False
    clip_skip: int = 1
    chunk: int = 16

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(
                "The lowest weight is not below the highest",
                where="low",
                cure=say("For example {low} and {high}.", low=0, high=1),
            )


@dataclass(frozen=True)
class Losses:
    """The subject's loss and the drift of one setting."""

    subject: float
    drift: float


@dataclass(frozen=True)
class State:
    """Where a search stands: the points that were found so far, a number a block. It can be kept and gone on with."""

    points: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class FitResult:
    """What was found.

    Attributes:
        weights: block to number, of the blocks that the file has.
        before, plain, found: losses without the LoRA, with it at 1, and with the weights, on what was learned from.
        allowed: the limit of the subject's loss.
        calls: samples that the model predicted.
    """

    weights: dict[str, float]
    before: Losses
    plain: Losses
    found: Losses
    allowed: float
    calls: int

    @property
    def kept(self) -> float:
        """The share of what was learned of the subject that stays."""
        return kept_share(self.before, self.plain, self.found)


def kept_share(before: Losses, plain: Losses, found: Losses) -> float:
    """Return which share of the subject's gain (from no LoRA to all of it) a setting keeps."""
    gain = before.subject - plain.subject
    return (before.subject - found.subject) / gain if gain > 0 else float("nan")


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
    return (len(subject) + len(neutral)) * settings_of(spec.rounds, len(blocks_of(model, lora)))


def settings_of(rounds: int, blocks: int) -> int:
    """Return how many settings of so many blocks a search asks each question with."""
    return rounds * (1 + blocks) + 2 + len(BETWEEN) * rounds


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
        nothing = dict.fromkeys(self.every, 0.0)
        self.neutral = asked_of_model(predictor, neutral, nothing)
        self.subject = asked_of_model(predictor, subject, self.every)
        plain = self._losses([nothing, self.every])
        self.before, self.plain = plain
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

    def run(self, state: State, keep: Callable[[State], None]) -> FitResult:
        """Return the best of all rounds."""
        spec, points = self.spec, [np.array([point[block] for block in self.blocks]) for point in state.points]
        while len(points) < spec.rounds:
            at = points[-1] if points else np.clip(np.ones(len(self.blocks)), spec.low, spec.high)
            points.append(self._round(at, last=len(points) == spec.rounds - 1))
            keep(State(tuple(dict(zip(self.blocks, map(float, point), strict=True)) for point in points)))
        return self._best(points)

    def _round(self, at: np.ndarray, *, last: bool) -> np.ndarray:
        """Return the weights of least drift, as the quadratics around ``at`` tell it."""
        subject, drift = self._quadratic(self.subject, at), self._quadratic(self.neutral, at)
        low, high = self.spec.low - at, self.spec.high - at
        if self.spec.halves and last:
            return at + on_grid(drift, subject, self.allowed, at, low, high)
        return at + least_while(drift, subject, self.allowed, low, high)

    def _quadratic(self, questions: Sequence[Question], at: np.ndarray) -> Quadratic:
        moves = np.where(at >= MOVE, -MOVE, MOVE)
        settings = [at, *(at + move * unit for move, unit in zip(moves, np.eye(len(at)), strict=True))]
        answers = self.predictor.said(questions, [self._numbers(one) for one in settings])
        count = len(at)
        constant, slope, curve = 0.0, np.zeros(count), np.zeros((count, count))
        scale = torch.from_numpy(moves)[:, None]
        for one, said in zip(questions, answers, strict=True):
            errors = one.errors(said).cpu()
            rest, turns = errors[0], (errors[1:] - errors[0]) / scale
            size = rest.numel() * len(questions)
            constant += float(rest @ rest) / size
            slope += (turns @ rest).numpy() / size
            curve += (turns @ turns.T).numpy() / size
        return Quadratic(constant, slope, curve)

    def _best(self, points: Sequence[np.ndarray]) -> FitResult:
        """Return the tried weights of least drift within the limit; ALL where none is."""
        spec = self.spec
        start = np.clip(np.ones(len(self.blocks)), spec.low, spec.high)
        parts = (1.0,) if spec.halves else BETWEEN
        tried = [start, *(start + part * (point - start) for point in points for part in parts)]
        tried = tried if not spec.halves else [start, points[-1]]
        tried = [np.clip(one.round(DIGITS), spec.low, spec.high) for one in tried]
        found = self._losses([self._numbers(one) for one in tried])
        most = self.allowed * (1 + WITHIN)
        rows = [(one, loss) for one, loss in zip(tried, found, strict=True) if loss.subject <= most]
        best, loss = (
            min(rows, key=lambda row: row[1].drift)
            if rows
            else min(zip(tried, found, strict=True), key=lambda row: row[1].subject)
        )
        return FitResult(self._named(best), self.before, self.plain, loss, self.allowed, self.predictor.calls)

    def _losses(self, settings: Sequence[Numbers]) -> list[Losses]:
        subject, drift = (losses(self.predictor, some, settings) for some in (self.subject, self.neutral))
        return [Losses(*pair) for pair in zip(subject, drift, strict=True)]

    def _numbers(self, point: np.ndarray) -> dict[str, float]:
        return self.every | {block: float(value) for block, value in zip(self.blocks, point, strict=True)}

    def _named(self, point: np.ndarray) -> dict[str, float]:
        return {block: round(float(value), DIGITS) + 0.0 for block, value in zip(self.blocks, point, strict=True)}

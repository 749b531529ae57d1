"""Courses of the learning rate: each a function of the step that returns the factor on the rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

REFERENCE_TIMESCALE = 10_000
"""Steps by which inverse_sqrt falls to 0.71 where nothing warms up: the reference library's own number."""


@dataclass(frozen=True)
class ScheduleStep:
    """What a scheduler needs to know.

    Attributes:
        step, total: of the run, from 0.
        warmup: steps in which the rate rises.
        cycles: of cosine_with_restarts.
        power: of polynomial.
        lowest: the factor that the course ends at, 0 to 1.
        decay: steps at the end in which wsd falls.
        from_zero: whether the warmup begins at 0, as in sd-scripts, whose first step then moves nothing; else at 1/W.
    """

    step: int
    total: int
    warmup: int = 0
    cycles: int = 1
    power: float = 1.0
    lowest: float = 0.0
    decay: int = 0
    from_zero: bool = False

    @property
    def share(self) -> float:
        """How much of what follows the warmup is over, 0 to 1."""
        return min(1.0, max(0, self.step - self.warmup) / max(1, self.total - self.warmup))


def _constant(course: ScheduleStep) -> float:
    return 1.0


def _linear(course: ScheduleStep) -> float:
    return 1.0 - course.share


def _cosine(course: ScheduleStep) -> float:
    return 0.5 * (1 + math.cos(math.pi * course.share))


def _cosine_with_restarts(course: ScheduleStep) -> float:
    """Cosine that starts again ``cycles`` times; one cycle is plain cosine (SGDR, arXiv:1608.03983)."""
    if course.share >= 1:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (course.cycles * course.share % 1.0)))


def _polynomial(course: ScheduleStep) -> float:
    return max(0.0, 1.0 - course.share) ** course.power


def _rex(course: ScheduleStep, d: float = 0.9) -> float:
    """REX, arXiv:2107.04197: ``(1 − p) / ((1 − d) + d (1 − p))``."""
    left = 1.0 - course.share
    return left / ((1 - d) + d * left)


def _inverse_sqrt(course: ScheduleStep) -> float:
    """``√(W / s)``, from 1 at the end of the warmup W (arXiv:1706.03762, without the width of the model)."""
    scale = course.warmup or REFERENCE_TIMESCALE
    return 1.0 / math.sqrt((course.step + scale - course.warmup) / scale)


def _wsd(course: ScheduleStep) -> float:
    """Warmup, stable, decay (arXiv:2404.06395): 1 until the last ``decay`` steps, which fall as half a cosine."""
    over = max(0, course.step - (course.total - course.decay)) / max(1, course.decay)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, over)))


SCHEDULERS: dict[str, Callable[[ScheduleStep], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "polynomial": _polynomial,
    "rex": _rex,
    "inverse_sqrt": _inverse_sqrt,
    "wsd": _wsd,
}
WITHOUT_END = ("constant", "inverse_sqrt")
"""Schedulers that fall to no lowest rate."""


def factor(name: str, course: ScheduleStep) -> float:
    """Return the factor on the learning rate, 0 to 1.

    During the warmup of W steps it grows from 1/W to 1, or from 0; after it, what the course says lies between
    ``lowest`` and 1. Equal to the schedules of transformers where the warmup begins at 0.
    """
    if course.step < course.warmup:
        risen = (course.step + (not course.from_zero)) / course.warmup
        lifted = name == "wsd" and course.from_zero  # the reference's wsd alone rises from the lowest rate
        return course.lowest + (1 - course.lowest) * risen if lifted else risen
    value = SCHEDULERS[name](course)
    return value if name in WITHOUT_END else course.lowest + (1 - course.lowest) * value

"""Courses of the learning rate: each a function of the step that returns the factor on the rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ScheduleStep:
    """What a scheduler needs to know: step and total, warmup in steps, cycles, power."""

    step: int
    total: int
    warmup: int = 0
    cycles: int = 1
    power: float = 1.0

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


SCHEDULERS: dict[str, Callable[[ScheduleStep], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "polynomial": _polynomial,
    "rex": _rex,
}


def factor(name: str, course: ScheduleStep) -> float:
    """Return the factor on the learning rate; during the warmup it grows from 1/W to 1."""
    if course.step < course.warmup:
        return (course.step + 1) / course.warmup
    return SCHEDULERS[name](course)

"""The learning rate of a run's step, from its options; with one of them to the number as sd-scripts has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lib_lora.train.schedulers import ScheduleStep, factor

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions

POLYNOMIAL_END = 1e-7
"""The rate at which the reference's polynomial schedule ends, whatever it began with."""
REFERENCE_NAMES = {"wsd": "warmup_stable_decay", "cosine": "cosine_with_min_lr"}
"""Schedulers that have another name in sd-scripts; cosine only where it has a lowest rate."""


def in_steps(value: float, total: int, *, cut: bool = False) -> int:
    """Return what is given as steps, or below 1 as a share of all; ``cut``: rounded down, as sd-scripts does."""
    steps = value * total if value < 1 else value
    return int(steps) if cut else round(steps)


def warmup_steps(options: TrainOptions, total: int) -> int:
    """Return the steps in which the rate of a run rises."""
    return in_steps(options.warmup, total, cut=options.as_sd_scripts)


def rate_factor(options: TrainOptions, step: int, total: int) -> float:
    """Return the factor on the learning rate of a step, 0 to 1."""
    exact = options.as_sd_scripts
    course = ScheduleStep(
        step,
        total,
        warmup_steps(options, total),
        options.scheduler_cycles,
        options.scheduler_power,
        lowest=options.scheduler_lowest,
        decay=in_steps(options.scheduler_decay, total, cut=exact),
        from_zero=exact,
    )
    if exact and options.scheduler == "polynomial" and not course.lowest and options.learning_rate > POLYNOMIAL_END:
        course = replace(course, lowest=POLYNOMIAL_END / options.learning_rate)
    return factor(options.scheduler, course)


def reference_name(options: TrainOptions) -> str:
    """Return the scheduler as sd-scripts calls it; one that it does not have keeps its name."""
    if options.scheduler == "constant" and options.warmup:
        return "constant_with_warmup"
    if options.scheduler == "cosine" and not options.scheduler_lowest:
        return "cosine"
    return REFERENCE_NAMES.get(options.scheduler, options.scheduler)

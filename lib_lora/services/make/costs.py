"""What the steps of an order cost on this machine: a training as its plan measured, others as they took before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib_lora.measured import Measured, number
from lib_lora.services.make.record import (
    BLOCKS,
    CHOOSE,
    LABEL,
    PLAN,
    PROOF,
    REPORT,
    RUNS,
    SHRINK,
    TRAIN,
    USUAL,
    WEIGHTS,
    Make,
)

WITHOUT_PAUSE = 0.85
"""Share of a training's time that steps take; the rest is measuring and saving."""
COSTS = "make_costs.json"
IN_STEPS: Mapping[str, float] = {
    CHOOSE: 0.1, BLOCKS: 25.0, WEIGHTS: 200.0, SHRINK: 15.0, PROOF: 45.0, LABEL: 0.1, REPORT: 0.1,
}  # fmt: skip
"""Training steps in whose time a step is done, before it was done here once: counted in calls of the pocket model."""
FACTORS: Mapping[str, float] = {TRAIN: 1 / WITHOUT_PAUSE, USUAL: 1 / WITHOUT_PAUSE}
"""A training's time as a multiple of its steps' probed time: it also encodes, measures and saves."""


@dataclass(frozen=True)
class Costs:
    """What steps took on this machine, by model: training steps' worth of time, of trainings a multiple (`FACTORS`)."""

    path: Path

    @classmethod
    def beside(cls, speed: Path) -> Costs:
        """Return those that lie beside the file of rendering speeds."""
        return cls(speed.with_name(COSTS))

    def put(self, make: Make, step: str, seconds: float) -> None:
        """Note how long a step took; those up to the plan have no measure yet and are not noted.

        Raises:
            FileError: the disk refuses.
        """
        unit = _unit(make, step)
        if unit and seconds > 0:
            Measured(self.path).note(_key(make, step), seconds / unit)

    def expected(self, make: Make, step: str) -> float | None:
        """Return how many seconds a step will take; None as long as the plan has measured nothing."""
        unit = _unit(make, step)
        usual = FACTORS[step] if step in RUNS else IN_STEPS.get(step)
        if not unit or usual is None:
            return None
        return unit * (number(Measured(self.path).read().get(_key(make, step))) or usual)


def _unit(make: Make, step: str) -> float:
    """Return the seconds that a step's cost counts; 0 where nothing is known."""
    plan = make.results.get(PLAN, {})
    rate = number(plan.get("seconds_a_step")) or 0.0
    return rate * plan["steps"] if rate and step in RUNS else rate


def _key(make: Make, step: str) -> str:
    return f"{make.results[PLAN].get('model', '')}: {step}"

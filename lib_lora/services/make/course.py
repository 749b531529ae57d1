"""How far an order is over all its steps, and how long the rest takes: one line for terminal, page and REST.

A training takes the plan's measured seconds a step; another step takes what it took on this machine before, and until
it was done there once, as many training steps' time as it takes with the pocket model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words, duration
from lib_lora.progress import Progress
from lib_lora.services.make.costs import Costs
from lib_lora.services.make.record import PLAN, RUNS, Make

LEAST = 0.05
"""Share of a step's expected time that counts as left while it goes on for longer than that."""
SCALE = 1000
"""Into so many units a whole order is divided for a progress bar."""


@dataclass(frozen=True)
class Course:
    """Where an order stands.

    Attributes:
        step: the one that is next or at work; empty where all are over.
        number, of: which of how many it is.
        spent: seconds that the work took so far.
        left: seconds that all the rest takes; None before the plan.
    """

    step: str
    number: int
    of: int
    spent: float
    left: float | None

    @property
    def share(self) -> float:
        """How much of all is over, 0 to 1: of the time, or before that is known, of the steps."""
        if self.left is None:
            return (self.number - 1) / self.of
        return self.spent / (self.spent + self.left) if self.spent + self.left else 1.0


def course_of(
    make: Make, costs: Costs, *, spent: float = 0.0, part: float | None = None, rest: float | None = None
) -> Course:
    """Return where an order stands.

    Args:
        make: the order.
        costs: what is known of this machine.
        spent: seconds that the present step has been at work.
        part: how much of the present step is over, 0 to 1, where that can be told.
        rest: seconds that the present step still takes, where that is measured.
    """
    step, steps = make.next_step, make.steps
    passed = sum(make.seconds.get(one, 0.0) for one in make.results)
    if not step:
        return Course("", len(steps), len(steps), passed, 0.0)
    coming = {one: costs.expected(make, one) for one in steps if one not in make.results}
    here, later = coming.pop(step), [value for value in coming.values() if value is not None]
    left = None
    if here is not None and len(later) == len(coming):
        spent = spent or here * (part or 0.0)
        if rest is None:
            rest = here * (1 - part) if part is not None else max(here - spent, LEAST * here)
        left = rest + sum(later)
    return Course(step, steps.index(step) + 1, len(steps), passed + spent, left)


def line(course: Course, words: Words, inside: str = "") -> str:
    """Return the line that says it; ``inside`` is what the present step says of itself."""
    left = course.left
    rest = words("make.left_unknown") if left is None else words("make.left", time=duration(left, words))
    return " · ".join(filter(None, (inside, rest)))


class Whole(Progress):
    """Tells a channel where a whole order stands, when one of its steps says how far it is."""

    def __init__(self, make: Make, costs: Costs, channel: Progress) -> None:
        self._make, self._costs, self._channel, self._words = make, costs, channel, Words("en")
        self._began, self._shown = time.monotonic(), 0
        self._first: tuple[float, int] | None = None

    def update(self, done: int, total: int, text: str = "") -> None:
        """Say that ``done`` of ``total`` of the present piece of a step are over."""
        course = course_of(self._make, self._costs, spent=time.monotonic() - self._began, **self._inside(done, total))
        self._shown = max(self._shown, min(SCALE - 1, round(SCALE * course.share)))
        name = f"{course.number}/{course.of} {self._words(f'make.step_{course.step}')}"
        count = f"{name} {done}/{total}" if total else name
        said = sentence_in_words(text, self._words.language)
        self._channel.update(self._shown, SCALE, line(course, self._words, f"{count} {said}".strip()))

    def _inside(self, done: int, total: int) -> dict[str, float]:
        """Return what the steps of a training tell of its rest; the pieces of other steps tell nothing of theirs."""
        if self._make.next_step not in RUNS or total != self._make.results[PLAN]["steps"]:
            return {}
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        began, first = self._first
        if done - first < 2:
            return {"part": done / total}
        return {"rest": (now - began) / (done - first) * (total - done)}

    @property
    def stopped(self) -> bool:
        """Whether the work is to stop."""
        return self._channel.stopped

    def stop(self) -> None:
        """Ask the work to stop."""
        self._channel.stop()

"""Losses as quadratic functions of the block weights near a point, and the least of one while another stays low enough.

Both losses are mean squares of the model's prediction, and that is nearly linear in the weights near a point: so
each is ``c + 2g·d + d·H·d`` in the step ``d`` (Gauss-Newton), and ``H`` is never indefinite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SWEEPS = 200
_HALVINGS = 40
_STEEPEST = 1e6
_STILL = 1e-7


@dataclass(frozen=True, eq=False)
class Quadratic:
    """``value(d) = constant + 2·slope·d + d·curve·d``; slope ``(n,)``, curve ``(n, n)``."""

    constant: float
    slope: np.ndarray
    curve: np.ndarray

    def value(self, step: np.ndarray) -> float:
        """Return the loss at a step."""
        return float(self.constant + 2 * self.slope @ step + step @ self.curve @ step)

    def plus(self, other: Quadratic, factor: float) -> Quadratic:
        """Return this one plus ``factor`` times another."""
        return Quadratic(
            self.constant + factor * other.constant,
            self.slope + factor * other.slope,
            self.curve + factor * other.curve,
        )

    def evened(self, share: float, at: np.ndarray) -> Quadratic:
        """Return this one plus a price for steps from ``at`` to weights that differ from their mean.

        ``share`` of the mean curvature is paid for each: as in ridge regression (Hoerl & Kennard 1970), with one weight
        for all blocks as what is expected before anything was asked.
        """
        count = len(at)
        price = share * float(np.trace(self.curve)) / count * (np.eye(count) - 1 / count)
        return Quadratic(self.constant, self.slope + price @ at, self.curve + price)


def least(loss: Quadratic, low: np.ndarray, high: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Return the step within bounds at which a convex quadratic is least, by exact coordinate descent."""
    step = np.clip(np.zeros_like(low) if start is None else start, low, high)
    for _ in range(_SWEEPS):
        moved = 0.0
        for place in range(len(step)):
            bend = loss.curve[place, place]
            slope = loss.slope[place] + loss.curve[place] @ step
            wanted = step[place] - slope / bend if bend > 0 else (low if slope > 0 else high)[place]
            wanted = min(max(wanted, low[place]), high[place])
            moved = max(moved, abs(wanted - step[place]))
            step[place] = wanted
        if moved < _STILL:
            break
    return step


def least_while(
    drift: Quadratic,
    subject: Quadratic,
    allowed: float,
    low: np.ndarray,
    high: np.ndarray,
    *,
    limited: Quadratic | None = None,
) -> np.ndarray:
    """Return the step of least drift at which the subject's loss is at most ``allowed``; its least where none is.

    The multiplier of the condition is found by bisection: drift falls and the subject's loss rises with less of it.

    Args:
        drift, subject: what is made small.
        allowed: the limit.
        low, high: bounds of each part of the step.
        limited: what may not pass the limit; None: ``subject``.
    """
    limited = limited or subject
    tiny = 1e-9 * float(np.trace(drift.curve) + np.trace(subject.curve)) / max(1, len(low))
    drift = Quadratic(drift.constant, drift.slope, drift.curve + tiny * np.eye(len(low)))
    free = least(drift, low, high)
    if limited.value(free) <= allowed:
        return free
    under, over = 0.0, 1.0
    step = least(drift.plus(subject, over), low, high)
    while limited.value(step) > allowed and over < _STEEPEST:
        under, over = over, over * 10
        step = least(drift.plus(subject, over), low, high, step)
    if limited.value(step) > allowed:
        return least(subject, low, high, step)
    for _ in range(_HALVINGS):
        middle = (under + over) / 2
        tried = least(drift.plus(subject, middle), low, high, step)
        if limited.value(tried) <= allowed:
            over, step = middle, tried
        else:
            under = middle
    return step


def on_grid(
    drift: Quadratic,
    subject: Quadratic,
    allowed: float,
    at: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    grid: tuple[float, ...] = (0.0, 0.5, 1.0),
) -> np.ndarray:
    """Return the step to weights of which all are one of ``grid``: one after another fixed, the rest found again.

    The nearest to its place on the grid is fixed first. Bounds are those of the step from ``at``.
    """
    low, high = low.copy(), high.copy()
    inside = np.array(grid)
    free = list(range(len(at)))
    step = least_while(drift, subject, allowed, low, high)
    while free:
        away = {place: float(np.abs(inside - (at + step)[place]).min()) for place in free}
        place = min(free, key=lambda one: away[one])
        value = float(inside[np.abs(inside - (at + step)[place]).argmin()])
        low[place] = high[place] = value - at[place]
        free.remove(place)
        step = least_while(drift, subject, allowed, low, high)
    return step

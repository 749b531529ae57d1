"""A loss near a point as quadratics, one for each part of sampling, so that each choice of steps is known at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lib_lora.analysis.fit.quadratic import Quadratic
from lib_lora.analysis.fit.window import Window


@dataclass(frozen=True)
class Parts:
    """A loss near a point: for each part of sampling its share with the LoRA on, and with its text encoder alone."""

    on: list[Quadratic]
    off: list[Quadratic]

    @classmethod
    def of(cls, count: int, parts: int) -> Parts:
        """Return nothing yet, of so many blocks and parts."""
        nothing = Quadratic(0.0, np.zeros(count), np.zeros((count, count)))
        return cls([nothing] * parts, [nothing] * parts)

    def through(self, window: Window) -> Quadratic:
        """Return the loss of a LoRA that acts in a window alone."""
        first, *rest = [(self.on if window.has(part) else self.off)[part] for part in range(window.parts)]
        for one in rest:
            first = first.plus(one, 1.0)
        return first


def turned(errors: torch.Tensor, moves: np.ndarray, places: Sequence[int], count: int) -> Quadratic:
    """Return a sum of squares near a point as a quadratic of ``count`` steps (Gauss-Newton).

    Args:
        errors: at the point ``(n,)`` and with each of ``places`` moved, ``(1 + places, n)``.
        moves: by how much each is moved.
        places: which steps the errors turn with.
        count: of all steps.
    """
    at = np.array(places, dtype=int)
    rest, turns = errors[0], (errors[1:] - errors[0]) / torch.from_numpy(moves[at])[:, None]
    slope, curve = np.zeros(count), np.zeros((count, count))
    slope[at] = (turns @ rest).numpy()
    curve[np.ix_(at, at)] = (turns @ turns.T).numpy()
    return Quadratic(float(rest @ rest), slope, curve)

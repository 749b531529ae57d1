"""A moving average of what is trained, which is what is saved and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    """``a ← d·a + (1 − d)·p`` after every step, with ``d = min(decay, (1 + n) / (10 + n))`` after n steps.

    The smaller d at first lets the average leave the start, where it is nothing but the untrained LoRA.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._trained = list(parameters)
        self._decay = decay
        self.values = [parameter.detach().clone() for parameter in self._trained]
        self.steps = 0

    def follow(self) -> None:
        """Take a step's result in."""
        self.steps += 1
        kept = min(self._decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, [parameter.detach() for parameter in self._trained], 1 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in place of what is trained, and back to the bit."""
        trained = [parameter.detach().clone() for parameter in self._trained]
        self._put(self.values)
        try:
            yield
        finally:
            self._put(trained)

    def _put(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._trained, values, strict=True):
                parameter.copy_(value)

    def state(self) -> dict[str, object]:
        """Return everything needed to go on bit for bit."""
        return {"steps": self.steps, "values": list(self.values)}

    def take(self, state: dict[str, object]) -> None:
        """Go on from what `state` returned."""
        self.steps = int(state["steps"])  # type: ignore[call-overload]
        for value, kept in zip(self.values, state["values"], strict=True):  # type: ignore[call-overload]
            value.copy_(kept)

"""Loss scaling: gradients that pass through 16-bit weights would round to zero unless they are made larger first."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

PATIENCE = 1000
"""Steps without an overflow after which the scale is doubled again."""


class LossScale:
    """The factor of the loss (arXiv:1710.03740, section 3.2): halved when a gradient overflows, slowly doubled again.

    Attributes:
        value: the present factor; with a ``first`` of 1 nothing is scaled.
    """

    def __init__(self, first: float) -> None:
        self.first = self.value = first
        self._good = 0

    def backward(self, loss: Tensor, *, share: float = 1.0) -> None:
        """Add the gradients of ``share`` of a loss, scaled, to what stands on the parameters."""
        (loss * (self.value * share)).backward()

    def settled(self, loss: Tensor, parameters: Iterable[Tensor]) -> tuple[float, bool]:
        """Unscale the gradients on ``parameters``; return the loss, and whether a step may be made.

        None may where the loss or a gradient is not finite. A GPU is waited for once: the loss and the largest absolute
        value of each gradient come in one piece. A sum could overflow, a largest value cannot, and a NaN comes through.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.value != 1.0:
            torch._foreach_div_(gradients, self.value)
        largest = torch._foreach_norm(gradients, ord=torch.inf)
        value, *sizes = torch.stack([loss.detach().float(), *(one.float() for one in largest)]).tolist()
        if not math.isfinite(value):
            return value, False
        if all(map(math.isfinite, sizes)):
            self._good += 1
            if self._good >= PATIENCE:
                self.value, self._good = min(self.first, self.value * 2), 0
            return value, True
        self.value, self._good = max(1.0, self.value / 2), 0
        return value, False

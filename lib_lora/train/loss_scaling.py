"""Loss scaling: gradients that pass through 16-bit weights would round to zero unless they are made larger first."""

from __future__ import annotations

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

    def backward(self, loss: Tensor, parameters: Iterable[Tensor]) -> bool:
        """Leave the loss's gradients, unscaled, on ``parameters``; False where one is not finite: nothing may step."""
        (loss * self.value).backward()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.value != 1.0:
            for gradient in gradients:
                gradient.div_(self.value)
        if bool(torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).all()):
            self._good += 1
            if self._good >= PATIENCE:
                self.value, self._good = min(self.first, self.value * 2), 0
            return True
        self.value, self._good = max(1.0, self.value / 2), 0
        return False

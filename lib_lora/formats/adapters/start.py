"""What the training of every kind begins with: numbers drawn by one generator, on the device where the work is done."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Drawing:
    """Draws fp32 tensors that can be trained, in the order in which they are asked for.

    Numbers are drawn where the generator is and then moved, so that a seed gives the same ones on every device.
    """

    def __init__(self, layer: nn.Module, generator: torch.Generator | None, device: torch.device | None) -> None:
        self._generator = generator
        self._device = device or layer.weight.device
        self._drawn = generator.device if generator is not None else device or torch.device("cpu")

    def uniform(self, shape: tuple[int, ...], bound: float) -> Tensor:
        """Return numbers between ±``bound``."""
        return self._leaf(self._empty(shape).uniform_(-bound, bound, generator=self._generator))

    def normal(self, shape: tuple[int, ...], std: float) -> Tensor:
        """Return normal numbers around 0."""
        return self._leaf(self._empty(shape).normal_(0, std, generator=self._generator))

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Return zeros."""
        return torch.zeros(shape, dtype=torch.float32, device=self._device).requires_grad_()

    def _empty(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=self._drawn)

    def _leaf(self, drawn: Tensor) -> Tensor:
        return drawn.to(self._device).requires_grad_()

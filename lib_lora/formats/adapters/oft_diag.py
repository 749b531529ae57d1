"""OFT as LyCORIS 2.0 saved it: the rotations themselves (``oft_diag``), rescaled where the training was.

``W' = Rᵀ · W`` for each block of the outputs. R enters linearly, so ``I + q · (R - I)`` is q times the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import shape_error, take_parts

_ROTATIONS = "oft_diag"


@dataclass(frozen=True, eq=False)
class OldOftAdapter(Adapter):
    """``change`` (blocks, size, size) is R less the identity, in fp32."""

    kind: ClassVar[str] = "diag-oft"
    title: ClassVar[str] = "OFT"
    signs: ClassVar[str] = _ROTATIONS
    names: ClassVar[str] = signs
    needs_weight: ClassVar[bool] = True
    key: str
    change: Tensor
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> OldOftAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        rotations = take_parts(key, parts, required=(_ROTATIONS,))[_ROTATIONS]
        if rotations.ndim != 3 or rotations.shape[1] != rotations.shape[2]:
            raise shape_error(key, {_ROTATIONS: rotations})
        return cls(key, rotations.float() - _identity(rotations))

    @property
    def shape(self) -> tuple[int, ...]:
        """How many outputs are rotated."""
        return (self.change.shape[0] * self.change.shape[1],)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the layer has as many outputs."""
        return len(shape) > 1 and shape[0] == self.shape[0]

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return ``Rᵀ · W - W``."""
        base = self.base(weight)
        blocks = base.reshape(*self.change.shape[:2], -1)
        return torch.einsum("knm,kn...->km...", self.change.float(), blocks).reshape(base.shape)

    def tensors(self) -> dict[str, Tensor]:
        """Return the part by its name."""
        return {_ROTATIONS: self.change.float() + _identity(self.change)}

    def scaled(self, q: float) -> OldOftAdapter:
        """Return ``q`` times the change, in fp32: nothing is rounded."""
        return self if q == 1 else replace(self, change=self._times(self.change.float(), q))


def _identity(blocks: Tensor) -> Tensor:
    return torch.eye(blocks.shape[-1], device=blocks.device)

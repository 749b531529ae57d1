"""OFT: the outputs of a layer are rotated block by block (Qiu et al. 2023, arXiv:2306.07280; kohya, LyCORIS' diag-oft).

``W' = rescale · R · W`` with ``R = (I + Q)(I - Q)⁻¹`` and ``Q = B - Bᵀ`` (Cayley); alpha times the number of outputs
bounds the length of Q, 0 leaves it free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import alpha_tensor, read_constraint, shape_error, take_parts

_BLOCKS, _RESCALE = "oft_blocks", "rescale"


@dataclass(frozen=True, eq=False)
class OftAdapter(Adapter):
    """``blocks`` (blocks, size, size), ``rescale`` (out, 1[, 1, 1]) or None; ``alpha`` is the bound, 0 for none."""

    kind: ClassVar[str] = "diag-oft"
    title: ClassVar[str] = "OFT"
    signs: ClassVar[str] = rf"{_BLOCKS}|{_RESCALE}"
    names: ClassVar[str] = signs
    is_linear: ClassVar[bool] = False
    needs_weight: ClassVar[bool] = True
    sides: ClassVar[int] = 3
    in_comfyui: ClassVar[bool] = True
    key: str
    blocks: Tensor
    rescale: Tensor | None
    alpha: float

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> OftAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=(_BLOCKS,), optional=(_RESCALE,))
        blocks, rescale = tensors[_BLOCKS], tensors.get(_RESCALE)
        if blocks.ndim != cls.sides or blocks.shape[-1] != blocks.shape[-2]:
            raise shape_error(key, tensors)
        adapter = cls(key, blocks, rescale, read_constraint(key, parts))
        if not adapter.is_consistent():
            raise shape_error(key, tensors)
        return adapter

    def is_consistent(self) -> bool:
        """Whether the shapes fit one another."""
        return self.rescale is None or self.rescale.numel() == self.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many outputs are rotated."""
        return (self.blocks.shape[-3] * self.blocks.shape[-1],)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the layer has as many outputs."""
        return len(shape) > 1 and shape[0] == self.shape[0]

    def rotations(self) -> Tensor:
        """Return every block's R in fp32, of the shape of ``blocks``."""
        return cayley(self.blocks.float(), bound=self.alpha * self.shape[0])

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return ``rescale · R · W - W``."""
        base = self.base(weight)
        return self.rescaled(self.rotated(base)) - base

    def rotated(self, base: Tensor) -> Tensor:
        """Return the base weight with its outputs rotated; R is transposed, as its makers apply it."""
        count, size, _ = self.blocks.shape
        return torch.einsum("knm,kn...->km...", self.rotations(), base.reshape(count, size, -1)).reshape(base.shape)

    def rescaled(self, rotated: Tensor) -> Tensor:
        """Return the rotated weight with each output multiplied, where the file says so."""
        if self.rescale is None:
            return rotated
        return rotated * self.rescale.float().reshape(-1, *[1] * (rotated.ndim - 1))

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        parts = {_BLOCKS: self.blocks, "alpha": alpha_tensor(self.alpha)}
        return parts if self.rescale is None else {**parts, _RESCALE: self.rescale}


def cayley(blocks: Tensor, *, bound: float) -> Tensor:
    """Return ``(I + Q)(I - Q)⁻¹`` of every ``Q = B - Bᵀ``; the length of all of them together stays below ``bound``.

    Args:
        blocks: (…, size, size) in fp32.
        bound: 0 for none.
    """
    skew = blocks - blocks.transpose(-1, -2)
    length = skew.norm() + 1e-8
    if 0 < bound < length:
        skew = skew * (bound / length)
    eye = torch.eye(blocks.shape[-1], device=blocks.device)
    return torch.linalg.solve(eye - skew, eye + skew, left=False)

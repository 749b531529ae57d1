"""BOFT as PEFT writes it: the inputs are rotated in stages, the outputs rescaled (Liu et al. 2023, arXiv:2311.06243).

``W' = s · W · Rᵀ`` with ``R = R_last … R_0``. A stage deals the inputs out to its blocks as a butterfly does: it takes
even and odd runs of half a block apart, within ever longer stretches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.oft import cayley
from lib_lora.formats.adapters.parts import shape_error, take_parts

_BLOCKS, _SCALE = "boft_R", "boft_s"


@dataclass(frozen=True, eq=False)
class PeftBoftAdapter(Adapter):
    """``blocks`` (stages, blocks, size, size); ``outputs`` (out, 1), of a convolution (1, out)."""

    kind: ClassVar[str] = "boft"
    title: ClassVar[str] = "BOFT"
    signs: ClassVar[str] = rf"{_BLOCKS}|{_SCALE}"
    names: ClassVar[str] = signs
    is_linear: ClassVar[bool] = False
    needs_weight: ClassVar[bool] = True
    key: str
    blocks: Tensor
    outputs: Tensor
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> PeftBoftAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=(_BLOCKS, _SCALE))
        blocks, outputs = tensors[_BLOCKS], tensors[_SCALE]
        if blocks.ndim != 4 or outputs.numel() != max(outputs.shape or (1,)):
            raise shape_error(key, tensors)
        stages, count, size, columns = blocks.shape
        halves = stages == 1 or (size % 2 == 0 and count % 2 ** (stages - 1) == 0)
        if size != columns or not halves:
            raise shape_error(key, tensors)
        return cls(key, blocks, outputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """The outputs, and all inputs with a convolution's kernel."""
        _, count, size, _ = self.blocks.shape
        return (self.outputs.numel(), count * size)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the blocks cover all inputs (of a convolution with its kernel), and there are as many outputs."""
        return len(shape) > 1 and (shape[0], prod(shape[1:])) == self.shape

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return ``s · W · Rᵀ - W``."""
        base = self.base(weight)
        stages, count, size, _ = self.blocks.shape
        rotations = cayley(-0.5 * self.blocks.float(), bound=0)
        rows = base.flatten(1).T
        for stage in range(stages):
            runs = (-1, 2**stage, 2, size // 2, len(base)) if stage else (-1, 1, 1, size, len(base))
            dealt = (runs[0], runs[2], runs[1], *runs[3:])
            rows = rows.reshape(dealt).transpose(1, 2).reshape(count, size, -1)
            rows = torch.einsum("bij,bjn->bin", rotations[stage], rows)
            rows = rows.reshape(runs).transpose(1, 2).reshape(count * size, -1)
        return (rows.T * self.outputs.float().reshape(-1, 1)).reshape(base.shape) - base

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        return {_BLOCKS: self.blocks, _SCALE: self.outputs}

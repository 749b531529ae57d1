"""BOFT: outputs are rotated in stages that mix ever more distant ones (Liu et al. 2023, arXiv:2311.06243; LyCORIS)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.oft import OftAdapter


@dataclass(frozen=True, eq=False)
class BoftAdapter(OftAdapter):
    """``blocks`` (stages, blocks, size, size); stage i mixes outputs that lie ``2^i · size / 2`` apart."""

    kind: ClassVar[str] = "boft"
    title: ClassVar[str] = "BOFT"
    sides: ClassVar[int] = 4
    in_comfyui: ClassVar[bool] = True

    @classmethod
    def may_be(cls, names: Collection[str]) -> bool:
        """Whether there are blocks; OFT has the same names."""
        return "oft_blocks" in names

    @classmethod
    def matches(cls, parts: Mapping[str, Tensor]) -> bool:
        """Whether the blocks have stages; OFT has the same names."""
        return "oft_blocks" in parts and parts["oft_blocks"].ndim == cls.sides

    def is_consistent(self) -> bool:
        """Whether the shapes fit one another, and the stages the number of outputs."""
        outputs, size = self.shape[0], self.blocks.shape[-1]
        reach = 2 ** (self.blocks.shape[0] - 1) * size
        return super().is_consistent() and size % 2 == 0 and outputs % reach == 0

    def rotated(self, base: Tensor) -> Tensor:
        """Return the base weight with its outputs rotated, stage after stage."""
        stages, count, size, _ = self.blocks.shape
        rows = base.flatten(1)
        for stage, rotation in enumerate(self.rotations()):
            reach = 2**stage * (size // 2)
            rows = rows.reshape(-1, 2, reach, rows.shape[-1]).transpose(1, 2).reshape(count, size, -1)
            rows = torch.einsum("bij,bjn->bin", rotation, rows)
            rows = rows.reshape(-1, reach, 2, rows.shape[-1]).transpose(1, 2).reshape(base.shape[0], -1)
        return rows.reshape(base.shape)

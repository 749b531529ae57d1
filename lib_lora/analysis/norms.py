"""How much each block of a LoRA changes the model: exact norms, without rendering anything."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import HasLayers, find_targets
from lib_lora.merge.rank import squared_norm


@dataclass(frozen=True)
class BlockNorm:
    """What a LoRA does to one block.

    Attributes:
        block: the block's name.
        modules: adapters in it.
        delta: Frobenius norm of all its changes together.
        base: Frobenius norm of the weights that they change.
    """

    block: str
    modules: int
    delta: float
    base: float

    @property
    def relative(self) -> float:
        """The change relative to what is changed."""
        return self.delta / self.base if self.base else 0.0


def block_norms(model: HasLayers, lora: LoraFile) -> tuple[BlockNorm, ...]:
    """Return the norm of every block that the file changes, in the order of the model's blocks.

    Raises:
        InputError: the LoRA fits none of the model's layers.
    """
    targets, _ = find_targets(model, lora)
    table: dict[str, tuple[int, float, float]] = {}
    for target in targets:
        modules, delta, base = table.get(target.block, (0, 0.0, 0.0))
        table[target.block] = (modules + 1, delta + squared_norm(target.adapter), base + _squared(target.layer))
    order = [block for block in lora.blocks() if block in table]
    return tuple(BlockNorm(b, table[b][0], math.sqrt(table[b][1]), math.sqrt(table[b][2])) for b in order)


def _squared(layer: nn.Module) -> float:
    return float(layer.weight.detach().double().pow(2).sum())

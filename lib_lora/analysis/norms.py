"""How much each block of a LoRA changes the model: exact norms, without rendering anything."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import HasLayers, find_targets
from lib_lora.merge.rank import squared_norm
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


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


def block_norms(model: HasLayers, lora: LoraFile, progress: Progress = QUIET) -> tuple[BlockNorm, ...]:
    """Return the norm of every block that the file changes, in the order of the model's blocks.

    ``progress`` is told of every module, and may stop it.

    Raises:
        InputError: the LoRA fits none of the model's layers.
    """
    targets, _ = find_targets(model, lora)
    table: dict[str, tuple[int, float, float]] = {}
    for done, target in enumerate(targets, start=1):
        modules, delta, base = table.get(target.block, (0, 0.0, 0.0))
        table[target.block] = (
            modules + 1,
            delta + squared_norm(target.adapter, target.layer),
            base + _squared(target.layer),
        )
        progress.passed(done, len(targets), say("measuring"))
    order = [block for block in lora.blocks() if block in table]
    return tuple(BlockNorm(b, table[b][0], math.sqrt(table[b][1]), math.sqrt(table[b][2])) for b in order)


def delta_shares(lora: LoraFile, model: HasLayers | None = None) -> dict[str, float]:
    """Return each block's share of the whole change, ``|ΔW_block|² / |ΔW|²``; they sum up to 1.

    ``model`` is only asked where a change depends on its weights; a change that is not known counts as none.

    Raises:
        InputError: it is asked, and the LoRA fits none of its layers.
    """
    if model is not None and any(adapter.needs_weight for adapter in lora.adapters.values()):
        squares = {norm.block: norm.delta**2 for norm in block_norms(model, lora)}
    else:
        squares = {norm.block: norm.delta**2 for norm in delta_norms(lora)}
    squares = {block: 0.0 if math.isnan(square) else square for block, square in squares.items()}
    whole = sum(squares.values())
    return {block: square / whole if whole else 0.0 for block, square in squares.items()}


def delta_norms(lora: LoraFile, progress: Progress = QUIET) -> tuple[BlockNorm, ...]:
    """Return the norm of every block's change without a model: ``base`` is 0. ``progress`` may stop it.

    NaN in blocks where a change depends on the model's weights.
    """
    rows, done = [], 0
    for block, keys in lora.blocks().items():
        total = 0.0
        for key in keys:
            total += squared_norm(lora.adapters[key])
            done += 1
            progress.passed(done, len(lora.adapters), say("measuring"))
        rows.append(BlockNorm(block, len(keys), math.sqrt(total), 0.0))
    return tuple(rows)


def _squared(layer: nn.Module) -> float:
    return float(layer.weight.detach().double().pow(2).sum())

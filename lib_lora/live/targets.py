"""Which live layer each adapter of a LoRA file acts on, and how strongly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from lib_lora.blocks.layouts import BASE, OTHER, full_layout
from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile

Strength = float | Tensor
"""A multiplier: one number, or one number per sample of the batch ``(n,)``."""


class HasLayers(Protocol):
    """The part of a `LoadedModel` that attaching needs."""

    family: str
    layers: Mapping[str, nn.Module]


class Ratio(Protocol):
    """Element rules: a ratio that replaces the block's weight for one module, or None."""

    def ratio(self, block: str, key: str) -> float | None:
        """Return the ratio of the module ``key`` in ``block``, or None where no rule speaks of it."""
        ...


@dataclass(frozen=True)
class Target:
    """One adapter, the live layer it acts on, and the block that the layer stands in."""

    adapter: Adapter
    layer: nn.Module
    block: str


def find_targets(model: HasLayers, lora: LoraFile) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Return the targets of ``lora`` on ``model`` and the keys that match no layer.

    Raises:
        InputError: no key at all matches: the file is made for another family of models.
    """
    found, unmatched = [], []
    for key, adapter in lora.adapters.items():
        layer = model.layers.get(key)
        if layer is None:
            unmatched.append(key)
        else:
            found.append(Target(adapter, layer, block_of_key(key, model.family)))
    if not found:
        raise InputError(
            f"this LoRA fits none of the model's layers (0 of {len(lora.adapters)})",
            where=f"{lora.name}: made for {lora.family}, the model is {model.family}",
            cure="Choose a LoRA of the model's family.",
        )
    for target in found:
        target.adapter.fitting_shape(target.layer)
    return tuple(found), tuple(unmatched)


def added_work(adapter: Adapter, layer: nn.Module) -> float:
    """Return the work of applying ``adapter`` as factors, as a share of the layer's own: ``r (in + out) / (in · out)``.

    Only plain LoRA is cheap as factors; the other kinds rebuild the whole delta at every call.
    """
    if adapter.kind != "lora":
        return math.inf
    rows, columns = layer.weight.shape[0], layer.weight[0].numel()
    return adapter.rank * (rows + columns) / (rows * columns)


def uniform_multipliers(family: str, strength: float = 1.0) -> dict[str, float]:
    """Return the same strength for every block of ``family``, BASE and the layers outside all blocks."""
    return dict.fromkeys((*full_layout(family).names, BASE, OTHER), strength)


def strength_of(
    target: Target, multipliers: Mapping[str, Strength], elements: Ratio | None, strength: float
) -> Strength:
    """Return the multiplier of one target; an element rule replaces the block's weight, not the tag's strength."""
    if elements is not None:
        ratio = elements.ratio(target.block, target.adapter.key)
        if ratio is not None:
            return ratio * strength
    return multipliers[target.block]

"""Folding: a layer holds ``W + Σ m·Δ`` in a tensor of its own, while its original parameter waits untouched.

The record of what is folded lives on the layer itself and goes away with the last contribution, so several
attachments can come and go in any order.
"""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import nn

from lib_lora.formats.adapters.base import Adapter

RECORD = "_lora_atelier_fold"


class Fold:
    """The original parameter of a layer and what is added to it, in the order in which it came."""

    def __init__(self, original: nn.Parameter) -> None:
        self.original = original
        self.parts: dict[Hashable, tuple[Adapter, float]] = {}


def contribute(layer: nn.Module, owner: Hashable, adapter: Adapter, strength: float) -> None:
    """Add ``strength · delta`` of ``adapter`` to the layer's weight, in place of what ``owner`` added before."""
    fold: Fold | None = getattr(layer, RECORD, None)
    if fold is None:
        fold = Fold(layer.weight)
        object.__setattr__(layer, RECORD, fold)
    fold.parts[owner] = (adapter, strength)
    _install(layer, fold)


def withdraw(layer: nn.Module, owner: Hashable) -> None:
    """Take away what ``owner`` added; the last one to go leaves the original parameter itself."""
    fold: Fold | None = getattr(layer, RECORD, None)
    if fold is None or owner not in fold.parts:
        return
    del fold.parts[owner]
    _install(layer, fold)


def _install(layer: nn.Module, fold: Fold) -> None:
    if not fold.parts:
        layer._parameters["weight"] = fold.original
        object.__delattr__(layer, RECORD)
        return
    with torch.no_grad():
        weight = fold.original.detach()
        total = weight.float()  # a copy where the weight is half precision, else the sum below makes one
        for adapter, strength in fold.parts.values():
            total = total + adapter.delta().to(total.device).reshape(weight.shape) * strength
        layer._parameters["weight"] = nn.Parameter(total.to(weight.dtype), requires_grad=False)

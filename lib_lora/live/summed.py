"""A layer's numbers with LoRAs in them: ``W + Σ m·Δ``, each Δ made from the untouched weight; its bias alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora.formats.adapters.base import Adapter

Part = tuple[Adapter, float]
"""An adapter and its multiplier."""


def summed(weight: Tensor, bias: Tensor | None, parts: Iterable[Part]) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Return the sums for a layer's weight and bias in the weight's type; None for a bias that nothing changes."""
    with torch.no_grad():
        weight = weight.detach()
        total = weight.float()  # a copy where the weight is half precision, else the sum below makes one
        more: Tensor | None = None
        for adapter, strength in parts:
            delta = adapter.delta(weight).to(total.device)
            total = total + delta.reshape(weight.shape) * strength
            change = adapter.bias_delta(None if bias is None else bias.detach())
            if change is not None:
                change = change.to(total.device) * strength
                more = change if more is None else more + change
        if more is not None and bias is not None:
            more = bias.detach().float() + more
        return _parameter(total, weight), None if more is None else _parameter(more, weight)


def _parameter(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype), requires_grad=False)


def untouched(layer: nn.Module, *records: Any) -> tuple[Tensor, Tensor | None]:
    """Return a layer's weight and bias as they are without any LoRA of ours.

    Args:
        layer: the live layer.
        records: what `fold` and `swap` keep of it, None where they keep nothing.
    """
    for record in records:
        if record is not None and record.waiting is not None:
            return record.waiting
    return layer.weight, getattr(layer, "bias", None)

"""Max norm regularization: after a step no layer's change is longer than a bound (sd-scripts' scale_weight_norms)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile


@dataclass(frozen=True)
class Norms:
    """How many layers were made shorter, and the mean and largest norm afterwards."""

    scaled: int
    mean: float
    largest: float


@torch.no_grad()
def limit_norms(lora: LoraFile, most: float) -> Norms:
    """Shrink, in place, what is longer than ``most`` (Frobenius norm of alpha/rank · change).

    Every factor of the change takes an equal part, so up and down of a LoRA each the square root. A DoRA's bound is on
    what is added before its lengths act.
    """
    adapters = [a.inner if isinstance(a, DoraAdapter) else a for a in lora.adapters.values()]
    adapters = [a for a in adapters if any(p.requires_grad for p in a.parameters())]
    norms = torch.stack([_norm(adapter) for adapter in adapters])
    ratios = (most / norms.clamp(min=most)).to(norms)
    for adapter, ratio in zip(adapters, ratios, strict=True):
        parameters = [p for p in adapter.parameters() if p.requires_grad]
        for parameter in parameters:
            parameter.mul_(ratio.to(parameter.device) ** (1 / len(parameters)))
    after = norms * ratios
    return Norms(int((ratios < 1).sum()), float(after.mean()), float(after.max()))


def _norm(adapter: Adapter) -> Tensor:
    """Return a change's norm; of a plain LoRA from the small products of its halves."""
    if isinstance(adapter, LoraAdapter):
        factors = adapter.factors()
        square = ((factors.up.T @ factors.up) * (factors.down @ factors.down.T)).sum()
        return square.clamp(min=0).sqrt()
    return adapter.delta().norm()

"""Folding: a layer holds ``W + Σ m·Δ`` in a tensor of its own, while its original parameter waits untouched.

The record of what is folded lives on the layer itself and goes away with the last contribution, so several
attachments can come and go in any order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from lib_lora.formats.adapters.base import Adapter
from lib_lora.live.summed import Part, summed

RECORD = "_lora_atelier_fold"

_gathered: ContextVar[dict[nn.Module, Fold] | None] = ContextVar("_gathered", default=None)
"""Layers whose sum waits for the end of `together`; None outside of it."""


class Fold:
    """The original parameters of a layer and what is added to them, in the order in which it came."""

    def __init__(self, layer: nn.Module) -> None:
        self.original: nn.Parameter = layer.weight
        self.bias: nn.Parameter | None = getattr(layer, "bias", None)
        self.parts: dict[Hashable, Part] = {}

    @property
    def waiting(self) -> tuple[Tensor, Tensor | None]:
        """The layer's own weight and bias."""
        return self.original, self.bias


@contextmanager
def together() -> Iterator[None]:
    """Let many contributions come or go and sum each layer once at the end; meanwhile the layers must not run.

    One sum for each of n LoRAs in a layer would be n² deltas.
    """
    if _gathered.get() is not None:
        yield
        return
    gathered: dict[nn.Module, Fold] = {}
    token = _gathered.set(gathered)
    try:
        yield
    finally:
        _gathered.reset(token)
        for layer, fold in gathered.items():
            _install(layer, fold)


def contribute(layer: nn.Module, owner: Hashable, adapter: Adapter, strength: float) -> None:
    """Add ``strength · delta`` of ``adapter`` to the layer's weight, in place of what ``owner`` added before."""
    fold: Fold | None = getattr(layer, RECORD, None)
    if fold is None:
        fold = Fold(layer)
        object.__setattr__(layer, RECORD, fold)
    fold.parts[owner] = (adapter, strength)
    _changed(layer, fold)


def withdraw(layer: nn.Module, owner: Hashable) -> None:
    """Take away what ``owner`` added; the last one to go leaves the original parameter itself."""
    fold: Fold | None = getattr(layer, RECORD, None)
    if fold is None or owner not in fold.parts:
        return
    del fold.parts[owner]
    _changed(layer, fold)


def _changed(layer: nn.Module, fold: Fold) -> None:
    gathered = _gathered.get()
    if gathered is None:
        _install(layer, fold)
    else:
        gathered[layer] = fold


def _install(layer: nn.Module, fold: Fold) -> None:
    own = layer._parameters
    if not fold.parts:
        own["weight"] = fold.original
        object.__delattr__(layer, RECORD)
    else:
        own["weight"], bias = summed(fold.original, fold.bias, fold.parts.values())
        if bias is not None:
            own["bias"] = bias
            return
    if own.get("bias") is not fold.bias:
        own["bias"] = fold.bias

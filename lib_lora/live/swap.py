"""Folding for a host that changes weights in place at forward time: the layer holds ``W + Σ m·Δ`` only while it runs.

Between its calls the layer has its own parameter, so the host may merge, restore, move or reload weights whenever it
likes; the sum is made again when it did. `fold` is simpler and holds the sum all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor, nn

from lib_lora.formats.adapters.base import Adapter
from lib_lora.live.summed import Part, summed

RECORD = "_lora_atelier_swap"

Settle = Callable[[nn.Module], None]
"""Lets the host bring a layer's weight to what it wants, before the layer runs."""


class _Swapped:
    """What one layer gets while it runs, and the parameter that waits meanwhile."""

    def __init__(self, layer: nn.Module, settle: Settle) -> None:
        self.parts: dict[Hashable, Part] = {}
        self._settle = settle
        self._base: nn.Parameter | None = None
        self._state: tuple[Any, ...] = ()
        self._sum: tuple[nn.Parameter | None, nn.Parameter | None] = (None, None)
        self.waiting: tuple[Tensor, Tensor | None] | None = None
        """The layer's own weight and bias while the sum is in their place."""
        before = layer.register_forward_pre_hook(self._put_in)
        # always_call: the parameter comes back even where the layer's forward raises (out of memory, interrupt)
        after = layer.register_forward_hook(self._take_out, always_call=True)
        self._handles = (before, after)

    def changed(self) -> None:
        """Say that a part came, went or got another strength."""
        self._base = None

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _put_in(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self.waiting is not None:  # called inside of itself: the sum is in already
            return
        self._settle(layer)
        own = layer._parameters
        weight, bias = own["weight"], own.get("bias")
        state = (*_state(weight), *(() if bias is None else _state(bias)))
        if weight is not self._base or state != self._state:
            self._base, self._state, self._sum = weight, state, summed(weight, bias, self.parts.values())
        self.waiting = (weight, bias)
        own["weight"] = self._sum[0]
        if self._sum[1] is not None:
            own["bias"] = self._sum[1]

    def _take_out(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self.waiting is None:
            return
        (layer._parameters["weight"], bias), self.waiting = self.waiting, None
        if self._sum[1] is not None:
            layer._parameters["bias"] = bias


def _state(tensor: Tensor) -> tuple[Any, ...]:
    """Return by what it is seen that a host changed or moved a tensor."""
    return tensor._version, tensor.data_ptr(), tensor.device, tensor.dtype


class Swap:
    """The two acts of folding (see `fold`), for layers that a host changes at forward time.

    Args:
        settle: called with the layer before its weight is read.
    """

    def __init__(self, settle: Settle) -> None:
        self._settle = settle

    def contribute(self, layer: nn.Module, owner: Hashable, adapter: Adapter, strength: float) -> None:
        """Add ``strength · delta`` of ``adapter`` while the layer runs, in place of what ``owner`` added before."""
        record: _Swapped | None = getattr(layer, RECORD, None)
        if record is None:
            record = _Swapped(layer, self._settle)
            object.__setattr__(layer, RECORD, record)
        record.parts[owner] = (adapter, strength)
        record.changed()

    def withdraw(self, layer: nn.Module, owner: Hashable) -> None:
        """Take away what ``owner`` added; the last one to go takes the hooks along."""
        record: _Swapped | None = getattr(layer, RECORD, None)
        if record is None or owner not in record.parts:
            return
        del record.parts[owner]
        record.changed()
        if not record.parts:
            record.close()
            object.__delattr__(layer, RECORD)

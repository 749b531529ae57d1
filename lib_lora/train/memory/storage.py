"""Frozen weights kept elsewhere or in fewer bits, and put in place while their block runs.

A block's own bytes are never written: while it is stored, its parameters are replaced by the stored form, and given
back as the objects that they were.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora.train.memory.ahead import Ahead, AtOnce, Fetching
from lib_lora.train.memory.blocks import Forward, run_through

FLOAT8 = getattr(torch, "float8_e4m3fn", None)
"""Weights of 8 bits (arXiv:2209.05433); None where this torch has none."""
MAIN = torch.device("cpu")

Store = Callable[[Tensor], Tensor]
"""A weight to the form in which it waits."""


def in_float8(weight: Tensor) -> Tensor:
    """Return a matrix or kernel in 8 bits, on its device; what is smaller (norms, biases) stays as it is."""
    if FLOAT8 is None or weight.dim() < 2:
        return weight
    largest = torch.finfo(FLOAT8).max
    return weight.clamp(-largest, largest).to(FLOAT8)  # beyond it there is only NaN


def in_main_memory(weight: Tensor) -> Tensor:
    """Return a weight in main memory, where copies to a GPU need not wait for one another."""
    kept = weight.to(MAIN)
    return kept.pin_memory() if weight.device.type == "cuda" else kept


@dataclass
class Stored:
    """What is known of the stored blocks while they are stored.

    Attributes:
        running: the blocks whose weights are in place now.
        most: how many were so at once, at most.
    """

    running: set[int] = field(default_factory=set)
    most: int = 0

    def enter(self, block: nn.Module) -> None:
        """Hear that a block begins."""
        self.running.add(id(block))
        self.most = max(self.most, len(self.running))

    def leave(self, block: nn.Module) -> None:
        """Hear that a block is over."""
        self.running.discard(id(block))


@contextmanager
def stored(
    blocks: Iterable[nn.Module], store: Store, *, home: torch.device = MAIN, way: Fetching | None = None
) -> Iterator[Stored]:
    """Keep the blocks' frozen weights in the form of ``store`` while the context lasts; they come back as they were.

    Needs blocks that are recomputed in the backward pass: what a block has in place is let go when it is over, and
    only its second run needs it again.

    Args:
        blocks: see `blocks.blocks_of`.
        store: `in_float8` or `in_main_memory`.
        home: where the untouched weights wait meanwhile.
        way: how weights are fetched; by itself when they are wanted.
    """
    known, chosen = Stored(), list(blocks)
    with ExitStack() as stack:
        placed: dict[Hashable, list[_Row]] = {id(block): _put_away(block, store, home, stack) for block in chosen}
        ahead = Ahead(placed, way or AtOnce())

        def wrap(block: nn.Module, plain: Forward) -> Forward:
            rows = placed[id(block)]

            def forward(*given: Any, **named: Any) -> Any:
                known.enter(block)
                try:
                    with _in_place(rows, ahead.weights_of(id(block))):
                        ahead.look_ahead()
                        return plain(*given, **named)
                finally:
                    known.leave(block)

            return forward

        stack.enter_context(run_through(chosen, wrap))
        yield known


@dataclass(frozen=True)
class _Row:
    """One parameter of one layer: where it stands, how it waits, and how it is while it is used."""

    holder: dict[str, Any]
    name: str
    waiting: Tensor
    device: torch.device
    dtype: torch.dtype


def _put_away(block: nn.Module, store: Store, home: torch.device, stack: ExitStack) -> list[_Row]:
    """Replace a block's frozen parameters by their stored form; leaving ``stack`` puts the very objects back."""
    rows = []
    for module in block.modules():
        holder: dict[str, Any] = module._parameters
        for name, own in list(holder.items()):
            if own is None or own.requires_grad:
                continue
            device, dtype = own.device, own.dtype
            waiting = store(own.detach())
            stack.callback(_back, holder, name, own, device)
            # What lies at home already in all its bits needs no second copy there.
            own.data = waiting if (waiting.device, waiting.dtype) == (home, dtype) else own.data.to(home)
            holder[name] = nn.Parameter(waiting, requires_grad=False)
            rows.append(_Row(holder, name, holder[name], device, dtype))
    return rows


def _back(holder: dict[str, Any], name: str, own: Tensor, device: torch.device) -> None:
    own.data = own.data.to(device)
    holder[name] = own


@contextmanager
def _in_place(rows: Sequence[_Row], weights: Sequence[Tensor]) -> Iterator[None]:
    """Put a block's weights in place, and let them go; the graph keeps what it needs."""
    for row, weight in zip(rows, weights, strict=True):
        row.holder[row.name] = weight
    try:
        yield
    finally:
        for row in rows:
            row.holder[row.name] = row.waiting

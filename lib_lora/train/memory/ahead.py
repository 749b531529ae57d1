"""Weights fetched ahead: while one block computes, those of the next are on their way to the GPU.

Which block is next is known from the steps before: the same two blocks in a row are followed by the same third one, in
the forward pass as in the backward pass, which runs through them the other way round.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

_Row = TypeVar("_Row", bound="Waiting")


class Waiting(Protocol):
    """A weight that waits elsewhere, and how it is while it is used."""

    @property
    def waiting(self) -> Tensor:
        """The weight where it waits."""

    @property
    def device(self) -> torch.device:
        """Where it is used."""

    @property
    def dtype(self) -> torch.dtype:
        """In which type it is used."""


class Fetching(Protocol):
    """A way to fetch weights: begun at one time, finished at another."""

    ahead: bool
    """Whether something is gained by beginning early."""

    def begin(self, rows: Sequence[Waiting]) -> list[Tensor]:
        """Return the weights as they are used; they may still be on their way."""

    def finish(self, weights: Sequence[Tensor]) -> None:
        """Have what is computed from now on wait for them."""


def fetched(row: Waiting) -> Tensor:
    """Return a weight as it is used, on its way on the stream that computes now."""
    return row.waiting.detach().to(row.device, row.dtype, non_blocking=True)


class AtOnce:
    """Fetches when it is wanted, in line with the computing: on a processor there is nothing to be gained."""

    ahead = False

    def begin(self, rows: Sequence[Waiting]) -> list[Tensor]:
        """Return the weights."""
        return [fetched(row) for row in rows]

    def finish(self, weights: Sequence[Tensor]) -> None:
        """Wait for nothing: the order of the stream is enough."""


class SideStream:
    """Fetches on a CUDA stream of its own, beside the computing; main memory has to be pinned for that."""

    ahead = True

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._begun: list[torch.cuda.Event] = []

    def begin(self, rows: Sequence[Waiting]) -> list[Tensor]:
        """Begin to copy, at most two blocks before the GPU: what was not computed yet still holds its memory."""
        self._begun.append(torch.cuda.current_stream(self._stream.device).record_event())
        if len(self._begun) > 2:
            self._begun.pop(0).synchronize()
        with torch.cuda.stream(self._stream):
            return [fetched(row) for row in rows]

    def finish(self, weights: Sequence[Tensor]) -> None:
        """Have the computing stream wait, and keep the memory until it is through with it."""
        now = torch.cuda.current_stream(self._stream.device)
        now.wait_stream(self._stream)
        for weight in weights:
            weight.record_stream(now)


def way_to(device: torch.device) -> Fetching:
    """Return how weights get to a device: beside the computing where it has streams."""
    return SideStream(device) if device.type == "cuda" else AtOnce()


class Ahead(Generic[_Row]):
    """The weights of blocks in the order in which they run: those of the next one are fetched while one computes."""

    def __init__(self, blocks: Mapping[Any, Sequence[_Row]], way: Fetching) -> None:
        self._blocks = blocks
        self._way = way
        self._follows: dict[tuple[Hashable, Hashable], Hashable] = {}
        self._last: tuple[Hashable, Hashable] = (None, None)
        self._coming: tuple[Hashable, list[Tensor]] | None = None

    def weights_of(self, block: Hashable) -> list[Tensor]:
        """Return a block's weights, ready for what is computed from now on."""
        self._follows[self._last] = block
        self._last = (self._last[1], block)
        coming, self._coming = self._coming, None
        weights = coming[1] if coming is not None and coming[0] == block else self._way.begin(self._blocks[block])
        self._way.finish(weights)
        return weights

    def look_ahead(self) -> None:
        """Begin to fetch the weights of the block that is likely to be next; one block at most is on its way."""
        following = self._follows.get(self._last) if self._way.ahead else None
        if following is not None and self._coming is None:
            self._coming = following, self._way.begin(self._blocks[following])

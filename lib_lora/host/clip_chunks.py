"""A text's tokens in the layout of the WebUI: chunks of 75, each with its own start and end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

CHUNK = 75
"""Tokens of a text that share one pass through the text encoder; with start and end it is 77 positions."""

BACKTRACK = 20
"""So many tokens behind its last comma move on to the next chunk with what would not fit, as the WebUI does."""


Weighted = tuple[int, float]
"""A token and its weight."""


@dataclass
class _Wrapping:
    """A prompt while its tokens are put into chunks."""

    comma: int | None
    backtrack: int = BACKTRACK
    chunks: list[list[Weighted]] = field(default_factory=list)
    now: list[Weighted] = field(default_factory=list)
    last_comma: int | None = None

    def close(self, *, keep: int | None = None) -> None:
        """Finish the present chunk; from its place ``keep`` on, its tokens begin the next one."""
        cut = len(self.now) if keep is None else keep
        self.chunks.append(self.now[:cut])
        self.now, self.last_comma = self.now[cut:], None

    def add(self, token: int, weight: float) -> None:
        """Add a token; a full chunk is closed before, behind a near comma where there is one."""
        if token == self.comma:
            self.last_comma = len(self.now)
        elif len(self.now) == CHUNK and self.last_comma is not None and CHUNK - self.last_comma <= self.backtrack:
            self.close(keep=self.last_comma + 1)
        if len(self.now) == CHUNK:
            self.close()
        self.now.append((token, weight))


def wrapped(
    pieces: Iterable[tuple[Sequence[int], float] | None], *, comma: int | None, backtrack: int = BACKTRACK
) -> list[list[Weighted]]:
    """Return a prompt's tokens in chunks of at most 75.

    Args:
        pieces: tokens that share a weight; None begins a new chunk (``BREAK``).
        comma: the token behind which a prompt is broken rather than in the middle of a tag.
        backtrack: so many tokens before the end of a chunk such a comma may stand.
    """
    wrapping = _Wrapping(comma, backtrack)
    for piece in pieces:
        if piece is None:
            wrapping.close()
            continue
        tokens, weight = piece
        for token in tokens:
            wrapping.add(token, weight)
    if wrapping.now or not wrapping.chunks:
        wrapping.close()
    return wrapping.chunks


def weighted_ids(prompts: Sequence[Sequence[Sequence[Weighted]]], *, start: int, end: int) -> tuple[Tensor, Tensor]:
    """Return ids and weights ``(prompts, chunks, 77)``; shorter prompts get empty chunks, padding weighs 1."""
    chunks = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), chunks, CHUNK + 2), end, dtype=torch.long)
    ids[:, :, 0] = start
    weights = torch.ones(ids.shape)
    for row, prompt in enumerate(prompts):
        for place, chunk in enumerate(prompt):
            if chunk:
                ids[row, place, 1 : 1 + len(chunk)] = torch.tensor([token for token, _ in chunk])
                weights[row, place, 1 : 1 + len(chunk)] = torch.tensor([weight for _, weight in chunk])
    return ids, weights


def in_batch_order(ids: Tensor) -> Tensor:
    """Return ``(rows, chunks, 77)`` as ``(chunks·rows, 77)``, chunk by chunk.

    In that order per-sample LoRA weights, which repeat over the batch, meet the sample that they are for.
    """
    rows, chunks, length = ids.shape
    return ids.transpose(0, 1).reshape(chunks * rows, length)


def zero_padded(ids: Tensor, end: int, *, pad: int = 0) -> Tensor:
    """Return ids with ``pad`` in place of every end token but the first of each row, as OpenCLIP was trained."""
    again = (ids == end).long().cumsum(dim=-1) > 1
    return ids.masked_fill(again, pad)


def side_by_side(hidden: Tensor, chunks: int) -> Tensor:
    """Return ``(chunks·n, 77, width)`` as ``(n, 77·chunks, width)``."""
    return torch.cat(hidden.chunk(chunks), dim=1)

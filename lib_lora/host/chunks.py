"""A caption's tokens in the layout of the WebUI: chunks of 75, each with its own start and end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 75
"""Tokens of a caption that share one pass through the text encoder; with start and end it is 77 positions."""


def chunked(rows: Sequence[Sequence[int]], *, start: int, end: int) -> Tensor:
    """Return token ids ``(rows, chunks, 77)`` of captions without specials; shorter ones are padded with the end."""
    chunks = max(1, *(-(-len(row) // CHUNK) for row in rows))
    ids = torch.full((len(rows), chunks, CHUNK + 2), end, dtype=torch.long)
    ids[:, :, 0] = start
    for row, tokens in enumerate(rows):
        for chunk in range(chunks):
            piece = tokens[chunk * CHUNK : (chunk + 1) * CHUNK]
            ids[row, chunk, 1 : 1 + len(piece)] = torch.tensor(piece, dtype=torch.long)
    return ids


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

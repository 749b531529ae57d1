"""Products ``up @ down`` whose rows are the outputs of several layers, one below the other: parted and put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lib_lora.formats.adapters.base import Adapter

Pair = tuple[Tensor, Tensor]
"""``up`` (out, r[, 1, 1]) and ``down`` (r, in[, kh, kw])."""


def apart(ups: Sequence[Tensor], down: Tensor) -> list[Pair]:
    """Return the products of several ups and one down; with their own directions only where no two use the same."""
    used = torch.stack([up.flatten(1).any(dim=0) for up in ups])
    if bool((used.sum(dim=0) > 1).any()):
        return [(up, down) for up in ups]
    # A direction that nobody uses belongs to the one before it: rounding may have left it without numbers.
    owners, last = [], 0
    for column in used.T:
        last = int(column.nonzero()[0]) if bool(column.any()) else last
        owners.append(last)
    of = torch.tensor(owners)
    owned = [(of == at).nonzero().flatten() for at in range(len(ups))]
    return [
        (up[:, own].contiguous(), down[own].contiguous()) if len(own) else (up, down)
        for up, own in zip(ups, owned, strict=True)
    ]


def below(pairs: Sequence[Pair | int]) -> Pair:
    """Return the product that has the rows of several, one below the other; a number stands for so many rows of zeros.

    With one ``down`` for all, the ups stand one below the other; else they stand side by side as well:
    ``diag(U₁, U₂, …)`` and ``[D₁; D₂; …]``.
    """
    found = [pair for pair in pairs if not isinstance(pair, int)]
    up, down = found[0]
    if all(same(down, other) for _, other in found):
        blank = torch.zeros_like(up[:1])
        ups = [blank.expand(pair, *blank.shape[1:]) if isinstance(pair, int) else pair[0] for pair in pairs]
        return torch.cat(ups), down
    ups = [up.new_zeros(pair, 0) if isinstance(pair, int) else pair[0].flatten(1) for pair in pairs]
    whole = torch.block_diag(*ups)
    return whole.reshape(*whole.shape, *up.shape[2:]), torch.cat([other for _, other in found])


def evened(parts: Sequence[Adapter]) -> tuple[list[Tensor], float]:
    """Return the first tensors of adapters that are linear in it, with one alpha/rank for all of them, and that."""
    scales = [part.scale() for part in parts]
    firsts = [part.parameters()[0] for part in parts]
    if len(set(scales)) == 1:
        return firsts, scales[0]
    return [(first.double() * scale).float() for first, scale in zip(firsts, scales, strict=True)], 1.0


def same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors are of the same numbers, shape and type, or neither is there."""
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and torch.equal(one, other)

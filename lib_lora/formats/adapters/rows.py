"""Changes of some of a layer's outputs, and of the outputs of several layers, one below the other.

Each kind keeps itself where it can (`Adapter.parted`, `Adapter.joined`); the others become a plain LoRA or a full
difference, whichever has fewer numbers, with the same change in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter, whole_pair
from lib_lora.formats.adapters.full import FullAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.adapters.pairs import Pair, below


def parted(adapter: Adapter, rows: Sequence[Tensor], *, thin: bool = False) -> list[Adapter | None]:
    """Return the changes of several layers whose outputs are ``rows`` of this one's, each (n,) of whole numbers.

    ``thin``: what cannot keep its kind becomes a LoRA, of whatever rank, because another change is to be put around it.
    None where the change depends on weights in another way than row by row.
    """
    found = adapter.parted(rows)
    return [_rewritten(adapter, at, thin=thin) if one is None else one for one, at in zip(found, rows, strict=True)]


def joined(parts: Sequence[Adapter | int], *, thin: bool = False) -> Adapter | None:
    """Return the change of the layer that has the outputs of several; a number stands for so many unchanged ones.

    ``thin`` and None: as in `parted`.
    """
    there = [part for part in parts if not isinstance(part, int)]
    for one in there:
        found = type(one).joined(parts)
        if found is not None:
            return found
    if any(part.needs_weight or len(part.shape) < 2 for part in there):
        return None
    factors = [part if isinstance(part, int) else part.factors() for part in parts]
    pairs = [one if isinstance(one, int) else (one.up, one.down) for one in factors]
    shape = (sum(part if isinstance(part, int) else part.shape[0] for part in parts), *there[0].shape[1:])
    rank = sum(0 if isinstance(pair, int) else pair[0].shape[1] for pair in pairs)
    if _is_smaller(rank, shape):
        return _lora(there[0].key, below(pairs), shape)
    blank = torch.zeros(1, prod(shape[1:]))
    deltas = [blank.expand(p, -1) if isinstance(p, int) else p.delta().detach().flatten(1) for p in parts]
    return _whole(there[0].key, torch.cat(deltas), shape, thin=thin)


def _rewritten(adapter: Adapter, rows: Tensor, *, thin: bool) -> Adapter | None:
    if adapter.needs_weight or len(adapter.shape) < 2:
        return None
    shape = (len(rows), *adapter.shape[1:])
    factors = adapter.factors_of(rows)
    if _is_smaller(factors.up.shape[1], shape):
        return _lora(adapter.key, (factors.up, factors.down), shape)
    return _whole(adapter.key, adapter.delta().detach().flatten(1)[rows], shape, thin=thin)


def _is_smaller(rank: int, shape: tuple[int, ...]) -> bool:
    """Whether a LoRA of a rank has fewer numbers than the change itself."""
    return rank * (shape[0] + prod(shape[1:])) < prod(shape)


def _lora(key: str, pair: Pair, shape: tuple[int, ...]) -> LoraAdapter:
    up, down = (side.detach().contiguous() for side in pair)
    rank = down.shape[0]
    if len(shape) == 4:
        up, down = up[:, :, None, None], down.reshape(rank, *shape[1:])
    return LoraAdapter(key, up, down, None, float(rank))


def _whole(key: str, delta: Tensor, shape: tuple[int, ...], *, thin: bool) -> Adapter:
    return _lora(key, whole_pair(delta), shape) if thin else FullAdapter(key, delta.reshape(shape))

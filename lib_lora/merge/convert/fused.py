"""Layers of a transformer that are one in the model's own names and several in diffusers': q, k and v, and a swap.

The outputs of the several ones stand one below the other in the own layer's weight, so the change of each is some rows
of the whole change. Several with the same ``down`` are the rows of one ``up``; others stand side by side:
``up = diag(U_q, U_k, U_v)``, ``down = [D_q; D_k; D_v]``, which is parted again without loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from lib_lora.architectures.transformer import Layer, Transformer, flat
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, BiasAdapter, FullAdapter, LoraAdapter
from lib_lora.formats.adapters.on_disk import Scratch
from lib_lora.sentences import say


@dataclass
class Settled:
    """A LoRA's adapters by the layers of one spelling.

    Attributes:
        adapters: by kohya's name.
        fused, parted, swapped: how many layers were put together, taken apart, and had their halves change places.
        sources: by the name of each that is new, the names of those that it was made of.
    """

    adapters: MutableMapping[str, Adapter]
    fused: int = 0
    parted: int = 0
    swapped: int = 0
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)


def settle(adapters: Mapping[str, Adapter], transformer: Transformer | None, *, native: bool) -> Settled:
    """Return adapters with every layer as the model's own names have it (``native``), or as diffusers has it.

    Raises:
        InputError: a layer's kind of change can be neither parted nor put together.
    """
    done = Settled(Scratch())
    groups: dict[str, list[Adapter | None]] = {}
    for key, adapter in adapters.items():
        layer, at = _found(key, transformer)
        if layer is None or not layer.differs or native == (at is None):
            done.adapters[key] = adapter
        elif at is not None:
            groups.setdefault(layer.own, [None] * len(layer.diffusers))[at] = adapter
        elif layer.swapped:
            _put(done, _diffusers_key(layer, 0), _swapped(adapter), (key,))
            done.swapped += 1
        else:
            for number, part in enumerate(_parted(adapter, layer.shares)):
                if part is not None:
                    _put(done, _diffusers_key(layer, number), part, (key,))
            done.parted += 1
    for own, found in groups.items():
        layer = _layer(transformer, own)
        new, keys = f"lora_unet_{flat(own)}", tuple(one.key for one in found if one is not None)
        one = _swapped(found[0]) if layer.swapped and found[0] is not None else _fused(found, layer.shares)
        _put(done, new, one, keys)
        done.swapped += layer.swapped
        done.fused += not layer.swapped
    return done


def _put(done: Settled, key: str, adapter: Adapter, sources: tuple[str, ...]) -> None:
    if key in done.adapters:
        what = say("The file changes one layer under the names of two programs")
        raise InputError(what, where=key, cure="Take the changes of one program's names away first.")
    done.adapters[key] = _renamed(adapter, key)
    done.sources[key] = sources


def _layer(transformer: Transformer | None, own: str) -> Layer:
    assert transformer is not None
    return transformer.by_own[f"lora_unet_{flat(own)}"]


def _found(key: str, transformer: Transformer | None) -> tuple[Layer | None, int | None]:
    """Return a key's layer, and which one of diffusers' it is; None of an own one."""
    if transformer is None:
        return None, None
    own = transformer.by_own.get(key)
    return (own, None) if own is not None else transformer.by_diffusers.get(key, (None, None))


def _diffusers_key(layer: Layer, at: int) -> str:
    return f"lora_transformer_{flat(layer.diffusers[at])}"


def _renamed(adapter: Adapter, key: str) -> Adapter:
    if isinstance(adapter, BiasAdapter) and adapter.inner is not None:
        return replace(adapter, key=key, inner=_renamed(adapter.inner, key))
    return replace(adapter, key=key)  # type: ignore[type-var]  # all kinds are dataclasses


def _refused(adapter: Adapter) -> InputError:
    what = say(
        "A {kind} of a layer that is one in some programs and several in others cannot be rewritten", kind=adapter.title
    )
    cure = say("Choose a form with the names that the file has.")
    return InputError(what, where=adapter.key, cure=cure)


def _swapped(adapter: Adapter) -> Adapter:
    """Return a change whose first and second half of the outputs have changed places."""

    def swap(tensor: Tensor) -> Tensor:
        return torch.cat([*reversed(tensor.chunk(2))]).contiguous()

    return _by_rows(adapter, swap)


def _rows_of(tensor: Tensor, rows: slice) -> Tensor:
    return tensor[rows].clone()


def _by_rows(adapter: Adapter, work: Callable[[Tensor], Tensor]) -> Adapter:
    """Return a change after ``work`` on what has a row for every output."""
    if isinstance(adapter, BiasAdapter):
        inner = None if adapter.inner is None else _by_rows(adapter.inner, work)
        return replace(adapter, inner=inner, diff_b=work(adapter.diff_b))
    if isinstance(adapter, FullAdapter):
        return replace(adapter, diff=work(adapter.diff))
    if type(adapter) is LoraAdapter:
        return replace(adapter, up=work(adapter.up))
    raise _refused(adapter)


def _parted(adapter: Adapter, shares: Sequence[int]) -> list[Adapter | None]:
    """Return the change of each of several layers; None where it changes nothing."""
    rows = adapter.shape[0]
    if rows % sum(shares):
        raise InputError("The outputs of this layer cannot be parted", where=adapter.key, cure="Get the file again.")
    ends = [rows // sum(shares) * sum(shares[: at + 1]) for at in range(len(shares))]
    slices = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    parts = [_by_rows(adapter, partial(_rows_of, rows=one)) for one in slices]
    thin = _side_by_side(parts)
    return [part if _changes(part) else None for part in (thin or parts)]


def _changes(adapter: Adapter) -> bool:
    if isinstance(adapter, BiasAdapter):
        return bool(adapter.diff_b.any()) or (adapter.inner is not None and _changes(adapter.inner))
    return bool((adapter.up if isinstance(adapter, LoraAdapter) else adapter.parameters()[0]).any())


def _side_by_side(parts: Sequence[Adapter]) -> list[Adapter] | None:
    """Return parts with their own directions only, where each has some that no other uses; else None."""
    loras = [part for part in parts if type(part) is LoraAdapter]
    if len(loras) < len(parts):
        return None
    used = torch.stack([part.up.flatten(1).any(dim=0) for part in loras])
    if bool((used.sum(dim=0) > 1).any()):
        return None
    # A direction that nobody uses belongs to the one before it: rounding may have left it without numbers.
    owners, last = [], 0
    for column in used.T:
        last = int(column.nonzero()[0]) if bool(column.any()) else last
        owners.append(last)
    thin: list[Adapter] = []
    for at, part in enumerate(loras):
        own = torch.tensor([column for column, owner in enumerate(owners) if owner == at], dtype=torch.long)
        alpha = part.scale() * len(own)
        up, down = part.up[:, own].contiguous(), part.down[own].contiguous()
        thin.append(replace(part, up=up, down=down, alpha=alpha) if len(own) else replace(part, up=part.up * 0))
    return thin


def _fused(parts: Sequence[Adapter | None], shares: Sequence[int]) -> Adapter:
    """Return the change of the layer that has the rows of several; one that is missing changes nothing."""
    found = [(part, share) for part, share in zip(parts, shares, strict=True) if part is not None]
    first = found[0][0]
    unit = first.shape[0] // found[0][1]
    if any(part.shape[0] != unit * share or part.shape[1:] != first.shape[1:] for part, share in found):
        raise InputError("Parts of one layer do not fit one another", where=first.key, cure="Get the file again.")
    sizes = [unit * share for share in shares]
    if any(isinstance(part, BiasAdapter) for part, _ in found):
        return _fused_with_bias(parts, shares, sizes)
    if all(isinstance(part, FullAdapter) for part, _ in found):
        blank = first.parameters()[0]
        placed = zip(parts, sizes, strict=True)
        rows = [p.diff if isinstance(p, FullAdapter) else blank.new_zeros(n, *blank.shape[1:]) for p, n in placed]
        return FullAdapter(first.key, torch.cat(rows))
    loras = [part for part, _ in found if type(part) is LoraAdapter and part.mid is None]
    if len(loras) < len(found):
        raise _refused(next(part for part, _ in found if part not in loras))
    return _fused_loras([part if type(part) is LoraAdapter else None for part in parts], loras, sizes)


def _fused_with_bias(parts: Sequence[Adapter | None], shares: Sequence[int], sizes: Sequence[int]) -> Adapter:
    inner = [part.inner if isinstance(part, BiasAdapter) else part for part in parts]
    placed = zip(parts, sizes, strict=True)
    biases = [part.diff_b if isinstance(part, BiasAdapter) else torch.zeros(size) for part, size in placed]
    weight = _fused(inner, shares) if any(one is not None for one in inner) else None
    key = next(part.key for part in parts if part is not None)
    return BiasAdapter(key, weight, torch.cat(biases))


def _fused_loras(
    parts: Sequence[LoraAdapter | None], loras: Sequence[LoraAdapter], sizes: Sequence[int]
) -> LoraAdapter:
    first, scales = loras[0], {part.scale() for part in loras}
    placed = list(zip(parts, sizes, strict=True))
    shared = all(part.down.shape == first.down.shape and torch.equal(part.down, first.down) for part in loras)
    if shared and len(loras) > 1 and len(scales) == 1:
        blank = torch.zeros_like(first.up[:1])
        ups = [blank.expand(size, *blank.shape[1:]) if part is None else part.up for part, size in placed]
        return replace(first, up=torch.cat(ups))
    rank, mixed = sum(part.rank for part in loras), len(scales) > 1
    scale = 1.0 if mixed else first.scale()
    up = torch.zeros(sum(sizes), rank, *first.up.shape[2:], dtype=torch.float32 if mixed else first.up.dtype)
    row = column = 0
    for part, size in placed:
        if part is not None:
            rows = part.up.double() * part.scale() if mixed else part.up
            up[row : row + size, column : column + part.rank] = rows
            column += part.rank
        row += size
    return LoraAdapter(first.key, up, torch.cat([part.down for part in loras]), None, scale * rank)

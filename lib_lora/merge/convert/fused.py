"""Layers of a transformer that are one in the model's own names and several in diffusers': q, k and v, and a swap.

The outputs of the several ones stand one below the other in the own layer's weight, so the change of each is some rows
of the whole change. Each kind parts and joins rows by itself where it can (`formats.adapters.rows`); where it cannot,
the change becomes a plain LoRA or a full difference, which is counted, or it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lib_lora.architectures.transformer import Layer, Transformer, flat
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.adapters.on_disk import Scratch
from lib_lora.formats.adapters.rows import joined, parted
from lib_lora.sentences import say


@dataclass
class Rewritten:
    """Layers whose kind has no form in the other program's layers, and how many numbers they hold.

    Attributes:
        kinds: what people call the kinds.
        layers: how many there were.
        before, after: how many numbers they held, and hold now.
    """

    kinds: set[str] = field(default_factory=set)
    layers: int = 0
    before: int = 0
    after: int = 0

    def count(self, old: Sequence[Adapter], new: Sequence[Adapter]) -> None:
        """Count layers that became others, where not every kind stayed."""
        gone, come = ({_innermost(one).title for one in some} for some in (old, new))
        if new and gone != come:
            self.kinds |= (gone - come) or gone
            self.layers += len(old)
            self.before += sum(map(_numbers, old))
            self.after += sum(map(_numbers, new))


@dataclass
class Settled:
    """A LoRA's adapters by the layers of one spelling.

    Attributes:
        adapters: by kohya's name.
        fused, parted, swapped: how many layers were put together, taken apart, and had their halves change places.
        rewritten: those of them that became another kind.
        sources: by the name of each that is new, the names of those that it was made of.
    """

    adapters: MutableMapping[str, Adapter]
    fused: int = 0
    parted: int = 0
    swapped: int = 0
    rewritten: Rewritten = field(default_factory=Rewritten)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def put(self, old: Mapping[str, Adapter], new: Mapping[str, Adapter]) -> None:
        """Take what some layers became."""
        for key, adapter in new.items():
            self.keep(key, _renamed(adapter, key))
            self.sources[key] = tuple(old)
        self.rewritten.count(list(old.values()), list(new.values()))

    def keep(self, key: str, adapter: Adapter) -> None:
        """Take a layer's change.

        Raises:
            InputError: there is one already.
        """
        if key in self.adapters:
            raise _twice(key)
        self.adapters[key] = adapter


def settle(adapters: Mapping[str, Adapter], transformer: Transformer | None, *, native: bool) -> Settled:
    """Return adapters with every layer as the model's own names have it (``native``), or as diffusers has it.

    Raises:
        InputError: a layer's kind of change can be neither parted nor put together.
    """
    done = Settled(Scratch())
    groups: dict[str, dict[int, str]] = {}
    for key in adapters:
        layer, at = _found(key, transformer)
        if layer is None or not layer.differs or native == (at is None):
            done.keep(key, adapters[key])
        elif at is None:
            adapter = adapters[key]
            parts = zip(layer.diffusers, _parts(adapter, _rows(layer, adapter)), strict=True)
            done.put({key: adapter}, {_key(path): part for path, part in parts if _changes(part)})
            done.swapped += layer.swapped
            done.parted += not layer.swapped
        elif at in groups.setdefault(layer.own, {}):
            raise _twice(key)
        else:
            groups[layer.own][at] = key
    for own, keys in groups.items():
        layer = _layer(transformer, own)
        old = {keys[at]: adapters[keys[at]] for at in sorted(keys)}
        new = _whole(layer, {at: old[key] for at, key in keys.items()})
        done.put(old, {f"lora_unet_{flat(own)}": new})
        done.swapped += layer.swapped
        done.fused += not layer.swapped
    return done


def _twice(key: str) -> InputError:
    what = say("The file changes one layer under the names of two programs")
    return InputError(what, where=key, cure="Take the changes of one program's names away first.")


def _layer(transformer: Transformer | None, own: str) -> Layer:
    assert transformer is not None
    return transformer.by_own[f"lora_unet_{flat(own)}"]


def _found(key: str, transformer: Transformer | None) -> tuple[Layer | None, int | None]:
    """Return a key's layer, and which one of diffusers' it is; None of an own one."""
    if transformer is None:
        return None, None
    own = transformer.by_own.get(key)
    return (own, None) if own is not None else transformer.by_diffusers.get(key, (None, None))


def _key(path: str) -> str:
    return f"lora_transformer_{flat(path)}"


def _renamed(adapter: Adapter, key: str) -> Adapter:
    inner = getattr(adapter, "inner", None)
    more = {"inner": _renamed(inner, key)} if isinstance(inner, Adapter) else {}
    return replace(adapter, key=key, **more)  # type: ignore[type-var]  # all kinds are dataclasses


def _rows(layer: Layer, adapter: Adapter) -> list[Tensor]:
    """Return which outputs of the own layer each of diffusers' has."""
    count, shares = adapter.shape[0], (1, 1) if layer.swapped else layer.shares
    if count % sum(shares):
        raise InputError("The outputs of this layer cannot be parted", where=adapter.key, cure="Get the file again.")
    rows = list(torch.arange(count).split([count // sum(shares) * share for share in shares]))
    return [torch.cat(rows[::-1])] if layer.swapped else rows


def _parts(adapter: Adapter, rows: Sequence[Tensor]) -> list[Adapter]:
    found = [one for one in parted(adapter, rows) if one is not None]
    if len(found) < len(rows):
        raise _refused([adapter])
    return found


def _changes(adapter: Adapter) -> bool:
    """Whether a part changes anything; of one that depends on the model's weights nobody knows."""
    weight = adapter.weight_part
    if weight is not adapter:
        return bool(adapter.parameters()[-1].any()) or (weight is not None and _changes(weight))
    return adapter.needs_weight or bool(adapter.parameters()[0].any())


def _whole(layer: Layer, parts: Mapping[int, Adapter]) -> Adapter:
    """Return the change of the own layer; a part that is missing changes nothing."""
    if layer.swapped:
        (adapter,) = parts.values()
        return _parts(adapter, _rows(layer, adapter))[0]
    at, first = next(iter(parts.items()))
    unit = first.shape[0] // layer.shares[at]
    sizes = [unit * share for share in layer.shares]
    widths = {one.shape[1:] for one in parts.values() if one.weight_part is not None}
    if len(widths) > 1 or any(one.shape[0] != sizes[at] for at, one in parts.items()):
        raise InputError("Parts of one layer do not fit one another", where=first.key, cure="Get the file again.")
    found = joined([parts.get(at, size) for at, size in enumerate(sizes)])
    if found is None:
        raise _refused(list(parts.values()))
    return found


def _refused(adapters: Sequence[Adapter]) -> InputError:
    adapter = next((one for one in adapters if one.needs_weight), adapters[0])
    what = say(
        "A {kind} of a layer that is one in some programs and several in others cannot be rewritten", kind=adapter.title
    )
    if adapter.kind == "dora":
        what = say("Some lengths of this DoRA in the other program's layers are known to the model alone")
    return InputError(what, where=adapter.key, cure="Choose a form with the names that the file has.")


def _innermost(adapter: Adapter) -> Adapter:
    inner = getattr(adapter, "inner", None)
    return _innermost(inner) if isinstance(inner, Adapter) else adapter


def _numbers(adapter: Adapter) -> int:
    return sum(tensor.numel() for tensor in adapter.parameters())

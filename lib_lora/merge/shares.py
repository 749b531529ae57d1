"""What is merged: files with their multiples, and for every module what each of them does to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.keys import find_module
from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import multiplier_of
from lib_lora.merge.difference import dependent
from lib_lora.merge.rank import with_kernel
from lib_lora.merge.recipe import short
from lib_lora.sentences import say


@dataclass(frozen=True)
class Summand:
    """One summand: a LoRA and the multiple of it in every block that it has modules in."""

    lora: LoraFile
    multipliers: Mapping[str, float]

    @property
    def used(self) -> dict[str, float]:
        """The multiples of the blocks that the LoRA has modules in, as recipes show them."""
        return {block: short(self.multipliers[block]) for block in self.lora.blocks()}


@dataclass(frozen=True)
class Share:
    """One file's adapter of a module and its multiple; ``index`` is the file's place in the order."""

    adapter: Adapter
    q: float
    source: str
    index: int = 0


def family_of_all(parts: Sequence[Summand]) -> str:
    """Return the one family that all parts are for.

    Raises:
        InputError: no part, or files for different families.
    """
    _refuse_none(parts)
    known = [(part.lora.name, part.lora.family) for part in parts]  # two files may have one name
    found = dict.fromkeys(family for _, family in known)
    if len(found) > 1:
        where = ", ".join(f"{name}: {family}" for name, family in known)
        raise InputError("LoRAs for different models cannot be added", where=where, cure="Choose files of one family.")
    return next(iter(found))


def _refuse_none(parts: Sequence[Summand]) -> None:
    if not parts:
        raise InputError("There is nothing to add", cure="Choose at least one LoRA.")


def widest(parts: Sequence[Summand]) -> torch.dtype:
    """Return the type that holds the numbers of every part; fp8 becomes fp16 at least.

    Raises:
        InputError: no part.
    """
    _refuse_none(parts)
    types = {adapter.parameters()[0].dtype for part in parts for adapter in part.lora.outline.values()}
    wide = [dtype if dtype.itemsize > 1 else torch.float16 for dtype in types]
    result = wide[0]
    for dtype in wide[1:]:
        result = torch.promote_types(result, dtype)
    return result


class Shares(Mapping[str, list[Share]]):
    """The shares of every module, which are read from their files when they are asked for.

    Two spellings of one SDXL module are one, in the first file's spelling.
    """

    def __init__(self, parts: Sequence[Summand], family: str) -> None:
        self._parts = parts
        self._found: dict[str, list[tuple[int, str, float]]] = {}
        spelled: dict[str, str] = {}
        for index, part in enumerate(parts):
            block_of = {key: block for block, keys in part.lora.blocks().items() for key in keys}
            strengths = {block: multiplier_of(block, part.multipliers) for block in set(block_of.values())}
            for key in part.lora.adapters:
                module = find_module(key, family)
                name = spelled.setdefault(module.key if module is not None else key, key)
                self._found.setdefault(name, []).append((index, key, strengths[block_of[key]]))

    def __getitem__(self, key: str) -> list[Share]:
        loras = [part.lora for part in self._parts]
        return [Share(loras[at].adapters[own], q, loras[at].name, at) for at, own, q in self._found[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def shares_by_module(parts: Sequence[Summand], family: str) -> Shares:
    """Return the shares of every module.

    Raises:
        InputError: a multiple is missing or not finite.
    """
    return Shares(parts, family)


def refuse_dependent_shares(key: str, shares: Sequence[Share]) -> None:
    """Refuse to add changes of which one is known only with the model's weights.

    Raises:
        InputError: there is one; its kind is named.
    """
    kinds = dependent(share.adapter for share in shares)
    if kinds:
        where = f"{key}: {', '.join(share.source for share in shares)}"
        what = say(
            "A change of the kind {kinds} cannot be added to another one: it depends on the model's weights",
            kinds=kinds,
        )
        raise InputError(what, where=where, cure="Leave one of the files out, or make full differences of it first.")


def refuse_unknown_numbers(key: str, shares: Sequence[Share], method: str) -> None:
    """Refuse what a method compares or drops number by number where nobody knows the numbers without the model.

    Raises:
        InputError: there is one; its kind is named.
    """
    kinds = dependent(share.adapter for share in shares)
    if kinds:
        what = say(
            "{method} needs the numbers of every change, and those of the kind {kinds} depend on the model's weights",
            method=method,
            kinds=kinds,
        )
        where = f"{key}: {', '.join(share.source for share in shares)}"
        cure = say("Load the model that the LoRA was made for, choose the method sum, or leave the file out.")
        raise InputError(what, where=where, cure=cure)


def common_shape(key: str, shares: Sequence[Share]) -> tuple[int, ...]:
    """Return the shape of a module's weight, with the kernel of a convolution where one of the files tells it.

    Raises:
        InputError: the files change weights of different shapes.
    """
    shapes: dict[tuple[int, ...], str] = {}
    for share in shares:
        if (part := share.adapter.weight_part) is not None:
            shapes.setdefault(with_kernel(key, part.shape), share.source)
    shape = max(shapes, key=len)
    kernels = {other[2:] for other in shapes if len(other) == 4}  # a Linear's says nothing about it
    if any(other[0] != shape[0] or prod(other) != prod(shape) for other in shapes) or len(kernels) > 1:
        where = "; ".join(f"{source} {shape}" for shape, source in shapes.items())
        cure = say("Leave one of the files out.")
        raise InputError("The LoRAs change weights of different shapes: {shapes}", shapes=where, where=key, cure=cure)
    return shape


def renamed(adapter: Adapter, key: str) -> Adapter:
    """Return the adapter under another spelling of its module's name."""
    return adapter if adapter.key == key else type(adapter).read(key, adapter.tensors())


def all_extras(parts: Sequence[Summand]) -> dict[str, Tensor]:
    """Return the tensors that belong to no module, of all parts.

    Raises:
        InputError: two files differ in one.
    """
    found: dict[str, Tensor] = {}
    for part in parts:
        for name, tensor in part.lora.extras.items():
            if name in found and not torch.equal(found[name], tensor):
                cure = say("Leave one of the files out.")
                raise InputError("Two files hold different tensors of this name", where=name, cure=cure)
            found[name] = tensor
    return found

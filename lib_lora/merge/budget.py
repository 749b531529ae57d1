"""A file's size as a rank rule: of all modules together the directions stay that say most for each byte.

A direction costs a column and a row, and is worth its squared singular value: taking those with the most worth for each
byte minimizes the squared error of all modules together but for the last direction. A module that may also stay as it
is costs no more than that; from where on the rest of it is worth more for each byte than its next direction alone, it
is taken whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, LoraAdapter
from lib_lora.formats.files import file_size
from lib_lora.formats.lora import LoraFile, predicted_size
from lib_lora.merge.rank import with_kernel
from lib_lora.merge.rank_rule import RankRule

LONGEST = "_" * 200
"""As long as the name of a file can be."""
_ROUNDS = 8
"""How often a choice is corrected by what the header of such a file takes."""


@dataclass(frozen=True)
class SavedAs:
    """How a new file is going to be saved: its name without ending, and the type of its numbers where that changes.

    A name that is not known yet counts as the longest that there can be. ``more`` is what its metadata say besides.
    """

    name: str = LONGEST
    dtype: torch.dtype | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def size(self, lora: LoraFile) -> int:
        """Return the bytes of the file; the numbers of the LoRA need not be known."""
        adapters, family = lora.outline, lora.family
        if self.dtype is not None:
            adapters = {key: one.to(dtype=self.dtype) for key, one in adapters.items()}
        saved = replace(lora, adapters=adapters, metadata={**lora.metadata, **self.more})
        saved.family = family
        return predicted_size(saved, name=self.name)


@dataclass(frozen=True)
class Candidate:
    """What of one module may stay.

    Attributes:
        sigma: its singular values (m,), downwards, of the directions that compete.
        price: bytes of a direction.
        entry: bytes that the module takes beside its directions: names and places in the header, alpha.
        rest: squared norm of the directions that do not compete.
        whole: bytes of the module as it is, which has all directions; None where it cannot stay as it is.
        part: which part of the rule it belongs to, of those with a size of their own.
    """

    sigma: Tensor
    price: int
    entry: int = 0
    rest: float = 0.0
    whole: int | None = None
    part: int | None = None

    @property
    def cheapest(self) -> tuple[int, int]:
        """Bytes and number of the fewest directions that can stay, where there are some."""
        if self.whole is not None and self.whole <= self.price:
            return self.entry + self.whole, len(self.sigma)
        return self.entry + self.price, 1

    def steps(self) -> list[Step]:
        """Return what can be added one after the other, the best first."""
        squares = self.sigma.double().square().tolist()
        found = [Step(worth, self.price, 1, self.price) for worth in squares]
        if not found:
            return []
        if self.whole is not None and self.whole < len(found) * self.price:
            least = max(0, self.whole // self.price)
            bytes_left = max(self.whole - least * self.price, 1)
            found = [*found[:least], Step(sum(squares[least:]) + self.rest, bytes_left, len(found) - least)]
        found[0] = replace(found[0], price=found[0].price + self.entry)
        best: list[Step] = []
        for step in found:  # what is worth more for a byte than what comes before it, comes with it
            while best and best[-1].density <= step.density:
                step = best.pop().then(step)
            best.append(step)
        return best


@dataclass(frozen=True)
class Step:
    """Directions that are added together.

    Attributes:
        worth: their squared singular values.
        price: their bytes.
        directions: their number.
        each: bytes of one of them, where fewer of them can be added as well.
    """

    worth: float
    price: int
    directions: int
    each: int | None = None

    @property
    def density(self) -> float:
        """Worth for each byte."""
        return self.worth / self.price

    def then(self, other: Step) -> Step:
        """Return both together."""
        each = self.each if self.each == other.each else None
        return Step(self.worth + other.worth, self.price + other.price, self.directions + other.directions, each)

    def within(self, free: float) -> tuple[int, int]:
        """Return how many of the directions fit into ``free`` bytes, and what they take."""
        if self.price <= free:
            return self.directions, self.price
        if self.each is None:
            return 0, 0
        count = max(0, int((free - (self.price - self.directions * self.each)) // self.each))
        return count, self.price - (self.directions - count) * self.each if count else 0


Outline = Callable[[Mapping[str, int]], LoraFile]
"""Gets how many directions of each module stay; returns the file, whose numbers need not be known."""


def share_out(
    candidates: Mapping[str, Candidate], rule: RankRule, outline: Outline, saved: SavedAs, *, excess: int = 0
) -> dict[str, int]:
    """Return how many directions of each module stay: the file is as near to the size as it can be, and no larger.

    Args:
        candidates: modules that directions can be taken from.
        rule: a size, and what some parts of the file may take of it.
        outline: the file of a choice.
        saved: how it is going to be saved.
        excess: bytes that the outline of a choice does not tell.

    Raises:
        InputError: the smallest file that there can be is larger; its size is told.
    """
    size = int(rule.value * 1e6) - excess
    limits = [int(one.ratio * 1e6) for one in rule.elements]

    def bytes_of(counts: Mapping[str, int]) -> float:
        try:
            return saved.size(outline(counts))
        except InputError:  # nothing at all would be left
            return math.inf

    best = _least(candidates, bytes_of)
    found = bytes_of(best)
    if found > size:
        raise _too_small(rule, found + excess)
    steps = [(step, key) for key, one in candidates.items() for step in one.steps()]
    steps.sort(key=lambda one: -one[0].density)
    everything = {key: len(one.sigma) for key, one in candidates.items()}
    free = size - (bytes_of(everything) - sum(step.price for step, _ in steps))
    for _ in range(_ROUNDS):
        counts = _taken(steps, candidates, free, limits)
        taken = bytes_of(counts)
        if taken == math.inf or counts == best:
            break
        if found < taken <= size:
            best, found = counts, taken
        free += size - taken
    return best


def _too_small(rule: RankRule, least: float) -> InputError:
    return InputError(
        "A file of {size:g} MB cannot be: the smallest possible one has {least:g} MB",
        size=rule.value,
        least=math.ceil(least / 1e3) / 1e3,
        where="size",
        cure="Choose a larger size.",
        option="size",
    )


def _taken(
    steps: Sequence[tuple[Step, str]], candidates: Mapping[str, Candidate], free: float, limits: Sequence[int]
) -> dict[str, int]:
    """Return the directions that the best steps add; a module ends at its first step that does not fit any more."""
    counts = dict.fromkeys(candidates, 0)
    left, ended = list(limits), set()
    for step, key in steps:
        if key in ended:
            continue
        part = candidates[key].part
        count, price = step.within(free if part is None else min(free, left[part]))
        if count < step.directions:
            ended.add(key)
        counts[key] += count
        free -= price
        if part is not None:
            left[part] -= price
    return counts


def _least(candidates: Mapping[str, Candidate], bytes_of: Callable[[Mapping[str, int]], float]) -> dict[str, int]:
    """Return the choice of the smallest file: no direction at all where something else is in it, else one."""
    none = dict.fromkeys(candidates, 0)
    first = {key: one.cheapest for key, one in candidates.items() if len(one.sigma)}
    cheap = sorted(first, key=lambda key: first[key][0])[:1]
    return min((none, *({**none, key: first[key][1]} for key in cheap)), key=bytes_of)


def outlined(adapter: Adapter, count: int, *, dtype: torch.dtype | None = None) -> Adapter | None:
    """Return an adapter with ``count`` directions of its weight's change as it will be saved, without its numbers."""
    part = adapter.weight_part
    assert part is not None  # it has singular values
    shape, dtype = with_kernel(adapter.key, part.shape), dtype or part.parameters()[0].dtype
    if not count:
        return adapter.with_weight_part(None)
    kernel = shape[1:] if len(shape) == 4 else (math.prod(shape[1:]),)
    ones = (1, 1) if len(shape) == 4 else ()
    up = torch.empty(shape[0], count, *ones, dtype=dtype, device="meta")
    down = torch.empty(count, *kernel, dtype=dtype, device="meta")
    return adapter.with_weight_part(LoraAdapter(adapter.key, up, down, None, abs(part.scale()) * count))


def candidate(adapter: Adapter, sigma: Tensor, dtype: torch.dtype | None, **more: Any) -> Candidate:
    """Return what competes of a module's change of a weight.

    Args:
        adapter: the module.
        sigma: its singular values.
        dtype: of the file's numbers; None: as they are.
        more: further attributes of `Candidate`.
    """
    part = adapter.weight_part
    assert part is not None  # it has singular values
    price = (part.shape[0] + math.prod(part.shape[1:])) * (dtype or part.parameters()[0].dtype).itemsize
    one = outlined(part, 1, dtype=dtype)
    assert one is not None
    entry = file_size({f"{adapter.key}.{name}": tensor for name, tensor in one.tensors().items()}, {}) - 8 - price
    return Candidate(sigma, price, entry, **more)

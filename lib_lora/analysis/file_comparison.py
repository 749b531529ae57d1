"""Two LoRA files side by side: what each changes in every block, how alike that is, and what only one has.

``⟨A, B⟩ = Σ (U_AᵀU_B) ∘ (D_AD_Bᵀ)`` for changes of two thin matrices each, so that no dense one is built; then the
cosine is ``⟨A, B⟩ / ‖A‖‖B‖`` and the difference ``‖A − B‖² = ‖A‖² + ‖B‖² − 2⟨A, B⟩``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_lora.architectures.registry import find_architecture
from lib_lora.architectures.transformer import flat
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.editing import Change, changes_of
from lib_lora.formats.keys import block_of_key, find_module
from lib_lora.formats.lora import LoraFile, in_order_of_blocks, read_lora
from lib_lora.merge.convert.fused import settle
from lib_lora.merge.rank import squared_norm
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

_CANCELS = 1e-4
"""Share of both norms below which the difference is computed from itself: the formula would cancel, because norms are
those of fp32 and right to 1e-5 or so."""


@dataclass
class Sums:
    """What is summed up over modules: squared norms of both, their product, and the squared norm of the difference."""

    first: float = 0.0
    second: float = 0.0
    product: float = 0.0
    difference: float = 0.0

    def add(self, other: Sums) -> None:
        """Add another one's sums."""
        self.first += other.first
        self.second += other.second
        self.product += other.product
        self.difference += other.difference

    @property
    def cosine(self) -> float | None:
        """The cosine between both changes; None where one changes nothing."""
        both = math.sqrt(self.first) * math.sqrt(self.second)
        return min(1.0, max(-1.0, self.product / both)) if both else None

    @property
    def relative(self) -> float | None:
        """The norm of the difference as a share of the first one's norm; None where that is 0."""
        return math.sqrt(self.difference / self.first) if self.first else None


@dataclass
class BlockComparison:
    """One block, or all.

    Attributes:
        block: its name.
        both, first_only, second_only: how many modules both have, and one of them.
        unknown: modules in both whose change depends on the model's weights, or whose shapes differ.
        sums: over all other modules; one that only one has counts in its norm.
        ranks, kinds: of the first and the second: smallest and largest rank, and what the kinds are called.
    """

    block: str
    both: int
    first_only: int
    second_only: int
    unknown: int
    sums: Sums
    ranks: tuple[tuple[int, int] | None, tuple[int, int] | None]
    kinds: tuple[tuple[str, ...], tuple[str, ...]]

    def row(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "both": self.both,
            "first_only": self.first_only,
            "second_only": self.second_only,
            "unknown": self.unknown,
            "norm_first": math.sqrt(self.sums.first),
            "norm_second": math.sqrt(self.sums.second),
            "cosine": self.sums.cosine,
            "relative_difference": self.sums.relative,
            "ranks": [list(one) if one else None for one in self.ranks],
            "kinds": [list(one) for one in self.kinds],
        }


@dataclass(frozen=True)
class FileComparison:
    """Two files compared.

    Attributes:
        family: of both.
        blocks: in the order of the family's layout; ``whole`` is all of them together.
        first_only, second_only: modules that only one has.
        other_alpha: modules of both with another alpha / rank.
        metadata: keys that differ.
        notes: what could not be compared, and what was assumed on reading.
    """

    family: str
    blocks: tuple[BlockComparison, ...]
    whole: BlockComparison
    first_only: tuple[str, ...]
    second_only: tuple[str, ...]
    other_alpha: tuple[str, ...]
    metadata: tuple[Change, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON, but for the notes, which are sentences."""
        return {
            "family": self.family,
            "blocks": {one.block: one.row() for one in self.blocks},
            "whole": self.whole.row(),
            "first_only": list(self.first_only),
            "second_only": list(self.second_only),
            "other_alpha": list(self.other_alpha),
            "metadata": [{"key": one.key, "first": one.before, "second": one.after} for one in self.metadata],
        }


def compare_files(first: Path, second: Path, progress: Progress = QUIET) -> FileComparison:
    """Return two files compared; see `compare`.

    Raises:
        FileError: a file cannot be read; InputError: they are for different families of models.
        StoppedError: somebody asked to stop.
    """
    loras = []
    for number, path in enumerate((first, second)):
        progress.passed(number, 2, say("reading"))
        loras.append(read_lora(path))
    return compare(loras[0], loras[1], progress)


def compare(first: LoraFile, second: LoraFile, progress: Progress = QUIET) -> FileComparison:
    """Return two LoRAs compared by block: norms, cosine, difference, modules, ranks, kinds and metadata.

    Modules are the same where they mean the same layer, whatever they are called.

    Raises:
        InputError: they are for different families of models. StoppedError: somebody asked to stop.
    """
    if first.family != second.family:
        where = f"{first.name}: {first.family}, {second.name}: {second.family}"
        cure = say("Choose files of one family.")
        raise InputError("LoRAs for different models cannot be compared", where=where, cure=cure)
    family = first.family
    tables = [_by_layer(lora) for lora in (first, second)]
    keys = list(dict.fromkeys((*tables[0], *tables[1])))
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(block_of_key(key, family), []).append(key)
    sums: dict[str, Sums | None] = {}
    for done, key in enumerate(keys, start=1):
        sums[key] = _sums(tables[0].get(key), tables[1].get(key))
        progress.passed(done, len(keys), say("comparing"))
    blocks = tuple(_block(name, keys, tables, sums) for name, keys in in_order_of_blocks(found, family).items())
    both = [key for key in keys if key in tables[0] and key in tables[1]]
    unknown = [key for key in both if sums[key] is None]
    notes = [note for lora in (first, second) for note in lora.notes]
    if unknown:
        notes.append(
            say(
                "{n} {n:module|modules} could not be compared: the change depends on the model's weights, or the "
                "shapes differ (e.g. {example}).",
                n=len(unknown),
                example=unknown[0],
            )
        )
    return FileComparison(
        family,
        blocks,
        _block("", keys, tables, sums),
        tuple(key for key in tables[0] if key not in tables[1]),
        tuple(key for key in tables[1] if key not in tables[0]),
        tuple(key for key in both if not math.isclose(_scale(tables[0][key]), _scale(tables[1][key]), rel_tol=1e-6)),
        changes_of(first.metadata, second.metadata),
        tuple(dict.fromkeys(notes)),
    )


def _by_layer(lora: LoraFile) -> dict[str, Adapter]:
    """Return adapters by the one name of their layer; q, k and v of a transformer as its own names have them."""
    known = find_architecture(lora.family)
    adapters: Mapping[str, Adapter] = lora.adapters
    if known is not None and known.transformer is not None:
        try:
            adapters = settle(adapters, known.transformer, native=True).adapters
        except InputError:  # a kind that cannot be put together: it is compared under the names that it has
            adapters = lora.adapters
        other = known.transformer.by_diffusers
        own = {key: f"lora_unet_{flat(other[key][0].own)}" for key in adapters if key in other}
        return {own[key] if key in own and not other[key][0].differs else key: one for key, one in adapters.items()}
    modules = {key: find_module(key, lora.family) for key in adapters}
    return {(module.key if (module := modules[key]) else key): adapter for key, adapter in adapters.items()}


def _scale(adapter: Adapter) -> float:
    part = adapter.weight_part
    return 1.0 if part is None else part.scale()


def _block(
    name: str, keys: Iterable[str], tables: list[dict[str, Adapter]], sums: Mapping[str, Sums | None]
) -> BlockComparison:
    one, two = ([table[key] for key in keys if key in table] for table in tables)
    both = [key for key in keys if key in tables[0] and key in tables[1]]
    whole = Sums()
    for key in keys:
        found = sums[key]
        if found is not None:
            whole.add(found)
    unknown = sum(sums[key] is None for key in both)
    only = len(one) - len(both), len(two) - len(both)
    kinds = tuple(tuple(sorted({adapter.label for adapter in side})) for side in (one, two))
    return BlockComparison(name, len(both), *only, unknown, whole, (_ranks(one), _ranks(two)), (kinds[0], kinds[1]))


def _ranks(adapters: Iterable[Adapter]) -> tuple[int, int] | None:
    found = [rank for adapter in adapters if (rank := adapter.stated_rank) is not None]
    return (min(found), max(found)) if found else None


def _sums(first: Adapter | None, second: Adapter | None) -> Sums | None:
    """Return a module's sums; None where nobody can tell them."""
    if any(one is not None and one.needs_weight for one in (first, second)):
        return None
    if first is None or second is None:
        norms = [squared_norm(one) if one is not None else 0.0 for one in (first, second)]
        return Sums(norms[0], norms[1], 0.0, norms[0] + norms[1])
    if math.prod(first.shape) != math.prod(second.shape) or first.shape[0] != second.shape[0]:
        return None
    one, two = squared_norm(first), squared_norm(second)
    product = _product(first, second)
    difference = one + two - 2 * product
    if difference < _CANCELS * (one + two):
        difference = _difference(first, second)
    return Sums(one, two, product, difference)


def _biases(first: Adapter, second: Adapter) -> tuple[Tensor, Tensor]:
    found = [one.bias_delta(None) for one in (first, second)]
    size = max(0 if one is None else one.numel() for one in found)
    one, two = (torch.zeros(size).double() if each is None else each.double().flatten() for each in found)
    return one, two


def _product(first: Adapter, second: Adapter) -> float:
    """Return the sum of the products of two changes' numbers, biases included."""
    bias, other = _biases(first, second)
    one, two = first.weight_part, second.weight_part
    return float(bias @ other) + (0.0 if one is None or two is None else _weight_product(one, two))


def _weight_product(one: Adapter, two: Adapter) -> float:
    if one.is_thin and two.is_thin:
        left, right = one.factors(), two.factors()
        ups, downs = left.up.double().T @ right.up.double(), left.down.double() @ right.down.double().T
        return float((ups * downs).sum())
    return float(one.delta().double().flatten() @ two.delta().double().flatten())


def _difference(first: Adapter, second: Adapter) -> float:
    """Return the squared norm of a small difference without cancellation, of thin changes by QR of their factors."""
    bias, other = _biases(first, second)
    more, one, two = float((bias - other).square().sum()), first.weight_part, second.weight_part
    if one is None or two is None:
        return more + sum(squared_norm(part) for part in (one, two) if part is not None)
    if _same(one, two):
        return more
    if one.is_thin and two.is_thin:
        left, right = one.factors(), two.factors()
        up = torch.cat([left.up, -right.up], dim=1).double()
        down = torch.cat([left.down, right.down]).double()
        core = torch.linalg.qr(up, mode="r").R @ torch.linalg.qr(down.T, mode="r").R.T
        return more + float(core.square().sum())
    return more + float((one.delta().double() - two.delta().double().reshape(one.shape)).square().sum())


def _same(one: Adapter, two: Adapter) -> bool:
    left, right = one.parameters(), two.parameters()
    return (
        type(one) is type(two)
        and one.alpha == two.alpha
        and len(left) == len(right)
        and all(a.shape == b.shape and torch.equal(a.float(), b.float()) for a, b in zip(left, right, strict=True))
    )

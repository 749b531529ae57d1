"""How far LoRAs pull the same way or against each other, block by block, before they are joined."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lib_lora.formats.adapters import Adapter, Factors
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import in_order_of_blocks
from lib_lora.merge.rank import quick_norm
from lib_lora.merge.shares import Share, Summand, common_shape, family_of_all, shares_by_module
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


@dataclass(frozen=True)
class Overlap:
    """How much the changes of two LoRAs are alike, times their multiples.

    Attributes:
        first, second: their places in the order.
        whole: the cosine of all that they change: 1 is the same twice, 0 is independent, −1 takes each other back; None
            where one changes nothing, or where its change depends on the model's weights.
        blocks: the cosine of each block that both act in.
    """

    first: int
    second: int
    whole: float | None
    blocks: Mapping[str, float | None]


def overlaps(parts: Sequence[Summand], progress: Progress = QUIET) -> tuple[Overlap, ...]:
    """Return the cosine of every two parts; of LoRAs from their factors, no layer's matrix is built.

    What changes a bias is not counted.

    Raises:
        InputError: files for different families, or changes of different shapes.
        StoppedError: somebody asked to stop.
    """
    family = family_of_all(parts)
    modules = shares_by_module(parts, family)
    pairs = list(itertools.combinations_with_replacement(range(len(parts)), 2))
    sums: dict[tuple[int, int], dict[str, float]] = {pair: {} for pair in pairs}
    for done, (key, shares) in enumerate(modules.items(), start=1):
        block = block_of_key(key, family)
        for pair, product in _products(key, [share for share in shares if share.q != 0]).items():
            sums[pair][block] = sums[pair].get(block, 0.0) + product
        progress.passed(done, len(modules), say("comparing"))
    norms = [sums[index, index] for index in range(len(parts))]
    return tuple(_overlap(one, two, sums[one, two], norms, family) for one, two in pairs if one != two)


def _overlap(
    one: int, two: int, products: Mapping[str, float], norms: Sequence[Mapping[str, float]], family: str
) -> Overlap:
    both = {block: 0.0 for block in norms[one] if block in norms[two]}
    blocks = {
        block: cosine(products.get(block, 0.0), norms[one][block], norms[two][block])
        for block in in_order_of_blocks(both, family)
    }
    whole = cosine(sum(products.values()), sum(norms[one].values()), sum(norms[two].values()))
    return Overlap(one, two, whole, blocks)


def cosine(product: float, square: float, other: float) -> float | None:
    """Return an inner product over the roots of two squared norms; None where one of them is 0 or not known."""
    size = math.sqrt(square * other)
    return max(-1.0, min(1.0, product / size)) if size > 0 and math.isfinite(product) else None


def _products(key: str, shares: Sequence[Share]) -> dict[tuple[int, int], float]:
    """Return the inner product of every two changes of a module, and of each with itself."""
    having = [share for share in shares if share.adapter.weight_part is not None]
    known = [share for share in having if not share.adapter.needs_weight]
    if known:
        common_shape(key, known)
    changes = [(share, _Change.of(share.adapter)) for share in having]
    return {
        (one.index, two.index): one.q * two.q * left.times(right)
        for (one, left), (two, right) in itertools.combinations_with_replacement(changes, 2)
    }


@dataclass(frozen=True)
class _Change:
    """A module's change: as factors where they are thin, else as it is; not known where it depends on the model.

    ``norm`` is what `quick_norm` gives of the factors.
    """

    adapter: Adapter
    factors: Factors | None
    known: bool
    norm: float | None = None

    @classmethod
    def of(cls, adapter: Adapter) -> _Change:
        part = adapter.weight_part
        assert part is not None
        if part.needs_weight:
            return cls(part, None, known=False)
        factors = part.factors() if part.has_factors else None
        if factors is not None and factors.up.shape[1] >= min(factors.up.shape[0], factors.down.shape[1]):
            factors = None
        return cls(part, factors, known=True, norm=None if factors is None else quick_norm(factors))

    def times(self, other: _Change) -> float:
        """Return the inner product of two changes: ``Σ (U₁ᵀU₂) ⊙ (D₁D₂ᵀ)``, or number by number."""
        if not (self.known and other.known):
            return math.nan
        if self.factors is None or other.factors is None:
            one, two = self.adapter.delta().detach().double(), other.adapter.delta().detach().double()
            return float((one.flatten() * two.flatten()).sum())
        if other is self and self.norm is not None:
            return self.norm
        quick = self.norm is not None and other.norm is not None
        return inner_product(self.factors, other.factors, dtype=torch.float32 if quick else torch.float64)


def inner_product(one: Factors, two: Factors, *, dtype: torch.dtype = torch.float64) -> float:
    """Return the sum of products of the numbers of two changes, from their factors in a type."""
    ups = one.up.detach().to(dtype).T @ two.up.detach().to(dtype)
    downs = one.down.detach().to(dtype) @ two.down.detach().to(dtype).T
    return float((ups.double() * downs.double()).sum())

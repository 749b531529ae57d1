"""How far two tiers agree: Spearman's rank correlation over the blocks that both know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lib_lora.analysis.tiers.result import BlockResult

LEAST = 3
"""Of fewer blocks a rank correlation says nothing."""


@dataclass(frozen=True)
class Agreement:
    """Two tiers and their rank correlation, -1 to 1 over ``blocks`` blocks; None where it cannot be told."""

    one: str
    other: str
    rho: float | None
    blocks: int


def agreement(one: BlockResult, other: BlockResult) -> Agreement:
    """Return how far the rankings by the first columns of two results agree, over blocks with modules in both."""
    first, second = one.means(), other.means()
    filled = [set(result.ranking()) for result in (one, other)]
    both = [block for block in first if block in filled[0] and block in filled[1]]
    return Agreement(one.tier, other.tier, spearman([first[b] for b in both], [second[b] for b in both]), len(both))


def agreements(results: Sequence[BlockResult]) -> tuple[Agreement, ...]:
    """Return how far every two of some results agree."""
    return tuple(agreement(one, other) for place, one in enumerate(results) for other in results[place + 1 :])


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Pearson's correlation of the ranks, equal numbers sharing their mean rank (Spearman 1904).

    None for fewer than `LEAST` pairs, or where all numbers of one side are equal.
    """
    if len(one) < LEAST:
        return None
    ranks = [_ranks(side) for side in (one, other)]
    mean = (len(one) + 1) / 2
    away = [[rank - mean for rank in side] for side in ranks]
    squares = [sum(part * part for part in side) for side in away]
    if not all(squares):
        return None
    return sum(a * b for a, b in zip(*away, strict=True)) / math.sqrt(squares[0] * squares[1])


def _ranks(numbers: Sequence[float]) -> list[float]:
    places: dict[float, list[int]] = {}
    for place, number in enumerate(sorted(numbers), start=1):
        places.setdefault(number, []).append(place)
    return [sum(places[number]) / len(places[number]) for number in numbers]

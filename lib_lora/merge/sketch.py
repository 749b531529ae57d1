"""The strongest directions of a dense matrix, found from random samples of it instead of a whole SVD.

Halko, Martinsson and Tropp 2011 (arXiv:0909.4061), algorithms 4.4 and 5.1: a few more random directions than wanted,
power iterations with QR in between, and the SVD of what is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib_lora.merge.rank import Spectrum, dense_spectrum, squared
from lib_lora.merge.rank_rule import RankRule

OVERSAMPLE = 16
"""Random directions beyond those that are wanted."""
LEAST_POWER, MOST_POWER = 2, 6
"""Power iterations: at least, and at most before a whole SVD is made instead."""
SETTLED = 1e-3
"""The sketch has settled when one more iteration finds less than this share of all squared singular values."""
WHOLE = 0.4
"""From this share of all directions on a whole SVD costs no more."""
EXACT = 1e-6
"""Singular values below this share of the largest are what fp32 makes of none."""
GUESS = 48
"""Directions that are looked for first where the rule does not say how many it wants."""


def leading(matrix: Tensor, rule: RankRule, *, floor: float = 0.0, seed: int = 0) -> tuple[Spectrum, int]:
    """Return the strongest directions of a matrix, and how many of them a rule keeps.

    The directions are as many as the rule needs to decide, found in a sketch that doubles until it can; a small matrix,
    one that wants most of its directions and one whose sketch does not settle get a whole SVD. The same seed gives the
    same numbers.

    Args:
        matrix: (m, n) in fp32.
        rule: how many to keep.
        floor: singular values up to this are noise and not kept.
        seed: of the random samples.

    Raises:
        torch.linalg.LinAlgError: a whole SVD does not converge, in fp64 neither.
    """
    total, most = squared(matrix), min(matrix.shape)
    count = min(int(rule.value) if rule.kind == "rank" else GUESS, rule.cap or most)
    while count + OVERSAMPLE < most * WHOLE and rule.kind != "cumulative":
        found = _sketch(matrix, count + OVERSAMPLE, total=total, seed=seed)
        if found is None:
            break
        kept = rule.choose(found.sigma, energy=total)
        if kept <= count or float(found.sigma[count]) <= floor:
            return found, min(kept, _above(found.sigma, floor))
        count *= 2
    found = dense_spectrum(matrix)
    return found, min(rule.choose(found.sigma), _above(found.sigma, floor))


def _above(sigma: Tensor, floor: float) -> int:
    return int((sigma > max(floor, EXACT * float(sigma[0]))).sum())


def _sketch(matrix: Tensor, count: int, *, total: float, seed: int) -> Spectrum | None:
    """Return the first ``count`` directions, the last of them inexact; None where the sketch does not settle."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(matrix.shape[1], count, generator=generator)
    basis = torch.linalg.qr(matrix @ samples)[0]
    before = 0.0
    for power in range(MOST_POWER + 1):
        back = matrix.T @ basis  # (n, count): the matrix as the basis sees it
        captured = squared(back)
        if power >= LEAST_POWER and captured - before <= SETTLED * total:
            q, r = torch.linalg.qr(back)
            left, sigma, right = torch.linalg.svd(r.T, full_matrices=False)
            return Spectrum(basis @ left, sigma, right @ q.T)
        before = captured
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(back)[0])[0]
    return None

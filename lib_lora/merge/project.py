"""Subtracting by projection: a LoRA without what lies in the directions that another one uses.

The second's change of a layer is ``U Σ Vᵀ``: it reads its inputs along V and writes along U. Taken out of the first's
change Δ is, with ``L = U Uᵀ`` and ``R = V Vᵀ``, one of ``LΔR`` (shared), ``ΔR`` (inputs), ``LΔ`` (outputs) and
``Δ − (1−L)Δ(1−R)`` (either). What is left has no part along the second's change: their inner product is 0. All of it is
exact in factors; no layer's matrix is built of a LoRA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, Factors
from lib_lora.formats.adapters.on_disk import Scratch
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.bake import rounded_part
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.overlap import cosine, inner_product
from lib_lora.merge.rank import product_norm, size_of, spectrum
from lib_lora.merge.rank_rule import NOISE
from lib_lora.merge.recipe import merged
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.merge.shares import (
    Share,
    Summand,
    common_shape,
    family_of_all,
    refuse_unknown_numbers,
    renamed,
    shares_by_module,
    widest,
)
from lib_lora.merge.sum import as_lora, balanced, without_surplus
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


@dataclass(frozen=True)
class Removal:
    """What a projection did to a block.

    Attributes:
        before, after: cosine of the first LoRA's change of the block and the second's; None where one is 0.
        kept: share of the first's squared norm, times its multiple, that is left.
    """

    before: float | None
    after: float | None
    kept: float


@dataclass
class _Sums:
    """Squared norms and inner products of a block's modules."""

    first: float = 0.0
    left: float = 0.0
    second: float = 0.0
    product_before: float = 0.0
    product_after: float = 0.0

    def removal(self) -> Removal:
        return Removal(
            before=cosine(self.product_before, self.first, self.second),
            after=cosine(self.product_after, self.left, self.second),
            kept=self.left / self.first if self.first else 1.0,
        )


def project(
    parts: Sequence[Summand], method: MethodOptions, progress: Progress = QUIET
) -> tuple[LoraFile, MergeReport, Mapping[str, Removal]]:
    """Return the first LoRA without what the second does, the report, and what that did to each block.

    Biases and normalizations of the first stay; a module that the second does not act in keeps its kind.

    Args:
        parts: two. The first's multiples scale what is left; the second's, 0 to 1 in every block, say which share of
            the part that they have in common is taken out.
        method: what is taken out.
        progress: is told of every module, and may stop it.

    Raises:
        InputError: not two parts, a multiple of the second that is no share, files for different families, a change
            that depends on the model's weights, one of another shape, or nothing is left.
        StoppedError: somebody asked to stop.
    """
    method.check(len(parts))
    first, second = parts
    family, dtype = family_of_all(parts), widest([first])
    _check_shares(second)
    adapters = Scratch()
    results, dropped, sums = [], [], {block: _Sums() for block in first.lora.blocks()}
    modules = shares_by_module(parts, family)
    for done, (key, shares) in enumerate(modules.items(), start=1):
        block = block_of_key(key, family)
        if shares[0].index == 0:
            made, result = _module(key, shares, block, sums[block], side=method.taken_out, dtype=dtype)
            results.append(result)
            if made is None:
                dropped.append(key)
            else:
                adapters[key] = made
        elif block in sums:
            sums[block].second += _size(shares[0])
        progress.passed(done, len(modules), say("joining"))
    if not adapters:
        cure = say("Take out less: another side, a smaller share, or fewer blocks.")
        raise InputError("Nothing is left of the first LoRA", where=first.lora.name, cure=cure)
    step = {
        **method.step(),
        "blocks": first.used,
        "removed": {"source": second.lora.name, "blocks": second.used},
    }
    saved = merged(LoraFile(adapters, extras=first.lora.extras), first.lora, step)
    report = MergeReport(rows_of(results, list(first.lora.blocks())), first.lora.size, saved.size, tuple(dropped))
    return saved, report, {block: found.removal() for block, found in sums.items()}


def _check_shares(second: Summand) -> None:
    for block in second.lora.blocks():
        if not 0 <= second.multipliers.get(block, 0.0) <= 1:
            raise InputError(
                "The weight of what is taken out is a share from 0 to 1, not {value:g}",
                value=second.multipliers[block],
                where=say("{file}, {part}", file=second.lora.name, part=block),
                cure="Give the second LoRA a weight from 0 to 1; one below 0 belongs to the method sum.",
            )


def _module(
    key: str, shares: Sequence[Share], block: str, sums: _Sums, *, side: str, dtype: torch.dtype
) -> tuple[Adapter | None, ModuleResult]:
    """Return one module without what the second does (None where nothing is left) and its part of the report."""
    share, *others = shares
    other = next((one for one in others if one.q != 0 and one.adapter.weight_part is not None), None)
    part, before = share.adapter.weight_part, share.adapter.rank
    if share.q == 0:
        return None, ModuleResult(block, before, 0)
    if other is None or part is None or len(part.shape) == 1:
        scaled = renamed(share.adapter, key).scaled(share.q)
        result = rounded_part(block, share.adapter, scaled, q=share.q)
        sums.first, sums.left = sums.first + result.wanted, sums.left + result.wanted
        sums.second += 0.0 if other is None else _size(other)
        return scaled, result
    refuse_unknown_numbers(key, (share, other), "project")
    shape = common_shape(key, (share, other))
    one, two = _factors(share.adapter), _factors(other.adapter)
    scaled_one = Factors(one.up * share.q, one.down, shape)
    left = _without(scaled_one, two, side=side, amount=other.q)
    whole, wanted = product_norm(scaled_one), product_norm(left)
    sums.first, sums.left, sums.second = sums.first + whole, sums.left + wanted, sums.second + product_norm(two)
    sums.product_before += inner_product(scaled_one, two)
    sums.product_after += inner_product(left, two)
    kept = without_surplus(left) if wanted > NOISE**2 * whole else None
    made, error = (None, 0.0) if kept is None else as_lora(key, kept, wanted, dtype=dtype)
    bias = share.adapter.scaled(share.q) if share.adapter.weight_part is not share.adapter else None
    saved = made if bias is None else bias.with_weight_part(made)
    return saved, ModuleResult(block, before, 0 if saved is None else saved.rank, wanted, wanted, error)


def _size(share: Share) -> float:
    """Return the squared norm of a change of the weight at 1; 0 where it does not act or is not known."""
    part = share.adapter.weight_part
    if share.q == 0 or part is None or part.needs_weight:
        return 0.0
    return size_of(part)


def _factors(adapter: Adapter) -> Factors:
    """Return the change of the weight in fp64: what is weak beside the rest of a change is a direction, too."""
    part = adapter.weight_part
    assert part is not None
    factors = part.factors()
    return Factors(factors.up.detach().double(), factors.down.detach().double(), factors.shape)


def _without(one: Factors, two: Factors, *, side: str, amount: float) -> Factors:
    """Return ``one`` less ``amount`` times what it has in the directions of ``two``, as factors."""
    up, down = balanced(one.up, one.down)
    left, right = _directions(two)
    inside, outside = left.T @ up, down @ right  # (k, r), (r, k)
    if side == "outputs":
        return Factors(up - amount * left @ inside, down, one.shape)
    if side == "inputs":
        return Factors(up, down - amount * outside @ right.T, one.shape)
    if side == "shared":  # LΔR is left · (inside · outside) · rightᵀ, of rank k or r, whichever is less
        less = (
            (left @ inside, outside @ right.T) if down.shape[0] <= left.shape[1] else (left @ inside @ outside, right.T)
        )
        return Factors(torch.cat([up, -amount * less[0]], dim=1), torch.cat([down, less[1]]), one.shape)
    rest = up - left @ inside, down - outside @ right.T
    if amount == 1:
        return Factors(*rest, one.shape)
    return Factors(torch.cat([(1 - amount) * up, amount * rest[0]], dim=1), torch.cat([down, rest[1]]), one.shape)


def _directions(factors: Factors) -> tuple[Tensor, Tensor]:
    """Return orthonormal columns of what a change writes along (out, k) and reads along (in, k)."""
    found = spectrum(factors)
    count = int((found.sigma > NOISE * found.sigma[0]).sum()) if found.sigma.numel() else 0
    return found.left[:, :count], found.right[:count].T

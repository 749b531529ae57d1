"""Adding: several LoRAs become one whose change is their exact weighted sum, by stacking factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, Factors, LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.bake import rounded_part
from lib_lora.merge.compress import reduce
from lib_lora.merge.dense import dense_sum
from lib_lora.merge.difference import refuse_dependent
from lib_lora.merge.modulewise import module_by_module
from lib_lora.merge.rank import product_norm, spectrum, squared_difference
from lib_lora.merge.rank_rule import NOISE, RankRule
from lib_lora.merge.recipe import merged
from lib_lora.merge.report import MergeReport, ModuleResult
from lib_lora.merge.shares import (
    Share,
    Summand,
    common_shape,
    refuse_dependent_shares,
    renamed,
    widest,
)
from lib_lora.merge.truncated import Choose, Cut, cut
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

_DOUBTFUL = 1e-6
"""Share of ‖up‖²‖down‖² below which a sum in fp32 may be rounding alone: summands that take each other back."""


def add(
    parts: Sequence[Summand], progress: Progress = QUIET, *, rule: RankRule | None = None
) -> tuple[LoraFile, MergeReport]:
    """Return the LoRA whose change of every module is ``Σ q·Δ`` over the parts.

    A module of several files becomes one plain LoRA, or with a full difference, a bias or a normalization among them
    one full difference: ``up = [q₁s₁U₁ | q₂s₂U₂ | …]``, ``down = [D₁; D₂; …]``, alpha =
    rank = the sum of the ranks, or the layer's smaller side where that is less. A module of one file only keeps its
    kind. The numbers are computed in fp32 and saved in the widest type of the sources; a module that fp16 cannot hold
    stays fp32.

    Args:
        parts: what is added; the same file may come twice.
        progress: is told of every module, and may stop it.
        rule: ranks that stay of each sum, neither a file's size nor beside a model, as `compress` keeps them; what it
            keeps comes from the sum itself, which is not rounded before.

    Raises:
        InputError: no part, files for different families, shapes that do not fit, a change that depends on the model's
            weights beside another one, extras that contradict each other, a number is missing or not finite, or
            nothing is left.
        StoppedError: somebody asked to stop.
    """
    dtype = widest(parts)

    def join(key: str, shares: Sequence[Share], block: str) -> tuple[Adapter | None, ModuleResult]:
        if rule is None:
            return _sum(key, shares, block=block, dtype=dtype)
        return _reduced(key, shares, rule.at(block, key).choose, block=block, dtype=dtype)

    lora, report = module_by_module(parts, join, doing=say("adding"), step={"op": "sum"}, progress=progress)
    if rule is not None:
        family, whole = lora.family, LoraFile(lora.adapters, extras=lora.extras)
        lora = merged(whole, lora, {"op": "compress", **rule.step()})
        lora.family = family
    return lora, report


def _reduced(
    key: str, shares: Sequence[Share], choose: Choose, *, block: str, dtype: torch.dtype
) -> tuple[Adapter | None, ModuleResult]:
    """Return one module's sum with fewer directions (None where nothing of it is left) and its part of the report."""
    acting = [share for share in shares if share.q != 0]
    if len(acting) > 1 and _are_products(acting):
        factors = _stacked(key, acting)
        made = _cut(key, factors, choose, dtype)
        if made is not None:
            before = max(share.adapter.rank for share in shares)
            return made.adapter, ModuleResult(block, before, made.count, made.wanted, made.kept, made.error)
    adapter, first = _sum(key, shares, block=block, dtype=dtype)
    if adapter is None:
        return None, first
    refuse_dependent(LoraFile({key: adapter}))
    small, second = reduce(adapter, choose, block=block)
    return small, replace(second, rank_before=first.rank_before, error=first.error + second.error)


def _cut(key: str, factors: Factors, choose: Choose, dtype: torch.dtype) -> Cut | None:
    """Return a sum's strongest directions; None where only its exact form tells whether it is there, or is smaller."""
    size = float(factors.up.square().sum()) * float(factors.down.square().sum())
    if not 0 < size < math.inf:
        return None
    most = min(factors.up.shape[1], factors.up.shape[0], factors.down.shape[1])
    try:
        made = cut(key, factors, choose, most=most, shape=factors.shape, dtype=dtype)
    except torch.linalg.LinAlgError:  # the exact sum stays what it is, and that is logged
        return None
    return made if made.adapter is not None and made.wanted > _DOUBTFUL * size else None


def _are_products(shares: Sequence[Share]) -> bool:
    return all(share.adapter.has_factors and share.adapter.weight_part is share.adapter for share in shares)


def _sum(key: str, shares: Sequence[Share], *, block: str, dtype: torch.dtype) -> tuple[Adapter | None, ModuleResult]:
    """Return one module's adapter (None where nothing of it is left) and its part of the report."""
    before = max(share.adapter.rank for share in shares)
    acting = [share for share in shares if share.q != 0]
    if not acting:
        return None, ModuleResult(block, before, 0)
    if len(acting) == 1:
        share = acting[0]
        scaled = renamed(share.adapter, key).scaled(share.q)
        return scaled, rounded_part(block, share.adapter, scaled, q=share.q)
    refuse_dependent_shares(key, acting)
    if not _are_products(acting):
        adapter, wanted, error = dense_sum(key, [(share.adapter, share.q) for share in acting], dtype=dtype)
        return adapter, ModuleResult(block, before, 0 if adapter is None else adapter.rank, wanted, wanted, error)
    factors = without_surplus(_stacked(key, acting))
    if factors is None:
        return None, ModuleResult(block, before, 0)
    wanted = product_norm(factors)
    adapter, error = as_lora(key, factors, wanted, dtype=dtype)
    return adapter, ModuleResult(block, before, adapter.rank, wanted=wanted, kept=wanted, error=error)


def _stacked(key: str, shares: Sequence[Share]) -> Factors:
    """Return ``Σ q·Δ`` as two stacked matrices, every summand's columns and rows of about equal size."""
    shape = common_shape(key, shares)
    ups: list[Tensor] = []
    downs: list[Tensor] = []
    for share in shares:
        factors = share.adapter.factors()
        up = factors.up.detach()
        up, down = balanced(up if share.q == 1 else up * share.q, factors.down.detach())
        ups.append(up)
        downs.append(down)
    return Factors(torch.cat(ups, dim=1), torch.cat(downs, dim=0), shape)


def balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors with their largest numbers brought together by a power of two, which changes no product."""
    high, low = (max(map(abs, map(float, torch.aminmax(side)))) for side in (up, down))
    if not (high and low and math.isfinite(high / low)):
        return up, down
    shift = round(math.log2(high / low) / 2)
    return (up * 2.0**-shift, down * 2.0**shift) if shift else (up, down)


def without_surplus(factors: Factors) -> Factors | None:
    """Return the same change with no more rank than the layer has; None where it changes nothing."""
    if not math.isfinite(float(factors.up.sum()) + float(factors.down.sum())):
        raise InputError("The sum holds numbers that are not finite", cure="Choose smaller strengths.")
    if factors.up.shape[1] < min(factors.up.shape[0], factors.down.shape[1]):
        product = product_norm(factors)
        scale = float(factors.up.double().square().sum() * factors.down.double().square().sum())
        return factors if product > (NOISE**2) * scale else None
    found = spectrum(factors)
    size = float(factors.up.norm() * factors.down.norm())
    count = int((found.sigma > NOISE * found.sigma[0]).sum()) if float(found.sigma[0]) > NOISE * size else 0
    if count == 0:
        return None
    root = found.sigma[:count].sqrt()
    return Factors(found.left[:, :count] * root, root[:, None] * found.right[:count], factors.shape)


def as_lora(key: str, factors: Factors, wanted: float, *, dtype: torch.dtype) -> tuple[LoraAdapter, float]:
    """Return the factors as a LoRA with alpha = rank in a type that holds them, and the squared rounding error."""
    for kind in dict.fromkeys((dtype, torch.float32)):
        up, down = factors.up.to(kind), factors.down.to(kind)
        low_up, low_down = up.float(), down.float()
        if torch.equal(low_up, factors.up) and torch.equal(low_down, factors.down):
            error = 0.0
            break
        error = squared_difference(factors.up, factors.down, low_up, low_down, dtype=torch.float32)
        if error <= (4 * torch.finfo(kind).eps) ** 2 * wanted:
            break
    if len(factors.shape) == 4:
        up, down = up[:, :, None, None], down.reshape(-1, *factors.shape[1:])
    return LoraAdapter(key, up.contiguous(), down.contiguous(), None, float(down.shape[0])), error

"""TIES and DARE: LoRAs joined number by number, each layer then as a LoRA again, with what that loses.

TIES (Yadav et al. 2023, arXiv:2306.01708): of each change the largest numbers stay, the sign with the larger sum is
elected, and the mean of those with that sign is the result. DARE (Yu et al. 2023, arXiv:2311.03099): each number stays
with a probability p and is divided by it; the rest is the sum. Both treat a layer by itself, so that one layer's dense
matrices are in memory at a time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, BiasAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.dense import dense_adapter
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.modulewise import module_by_module
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.report import MergeReport, ModuleResult
from lib_lora.merge.shares import Share, Summand, common_shape, refuse_unknown_numbers, widest
from lib_lora.merge.sketch import leading
from lib_lora.merge.truncated import truncated
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

Combine = Callable[[Sequence[Tensor], Sequence[str]], Tensor]
"""Gets the changes of one tensor times their multiples, and a name for each; returns one."""


def trimmed(change: Tensor, density: float) -> Tensor:
    """Return a change with its largest numbers only: a share ``density`` of them, at least one; the others are 0."""
    sizes = change.abs().flatten()
    count = max(1, math.ceil(density * sizes.numel() - 1e-9))
    if count >= sizes.numel():
        return change
    least = torch.topk(sizes, count, sorted=False).values.min()
    return torch.where(change.abs() >= least, change, torch.zeros_like(change))


def ties(changes: Sequence[Tensor], density: float) -> Tensor:
    """Return the mean of those trimmed numbers whose sign is that of their sum; 0 where the sum is 0."""
    kept = [trimmed(change, density) for change in changes]
    sign = torch.sign(sum(kept, torch.zeros_like(kept[0])))
    total, count = torch.zeros_like(sign), torch.zeros_like(sign)
    for change in kept:
        agrees = (torch.sign(change) == sign) & (sign != 0)
        total += torch.where(agrees, change, torch.zeros_like(change))
        count += agrees
    return total / count.clamp(min=1)


def dare(changes: Sequence[Tensor], names: Sequence[str], *, density: float, seed: int) -> Tensor:
    """Return the sum of changes of which each number stays with the probability ``density`` and is divided by it.

    What stays of a change follows from the seed and its name, not from what else is joined.
    """
    total = torch.zeros_like(changes[0])
    for change, name in zip(changes, names, strict=True):
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        stays = torch.rand(change.shape, generator=generator) < density
        total += torch.where(stays, change / density, torch.zeros_like(change))
    return total


def join_numbers(
    parts: Sequence[Summand], method: MethodOptions, rule: RankRule | None = None, progress: Progress = QUIET
) -> tuple[LoraFile, MergeReport]:
    """Return the LoRA that TIES or DARE makes of the parts.

    Args:
        parts: what is joined; a change counts times its multiple, before anything is trimmed or dropped.
        method: which of the two, with its numbers.
        rule: ranks that stay, neither a file's size nor beside a model; None: as many as the exact sum would have.
        progress: is told of every module, and may stop it.

    Raises:
        InputError: as `module_by_module`; or a change depends on the model's weights, or is of another shape.
        StoppedError: somebody asked to stop.
    """
    dtype = widest(parts)

    def combine(changes: Sequence[Tensor], names: Sequence[str]) -> Tensor:
        if method.method == "ties":
            return ties(changes, method.kept)
        return dare(changes, names, density=method.kept, seed=method.drawn)

    def join(key: str, shares: Sequence[Share], block: str) -> tuple[Adapter | None, ModuleResult]:
        own = None if rule is None else rule.at(block, key)
        return _Module(key, shares, block, method.method, dtype).joined(combine, own)

    kept = {} if rule is None else rule.step()
    return module_by_module(parts, join, doing=say("joining"), step={**method.step(), **kept}, progress=progress)


@dataclass(frozen=True)
class _Module:
    """One module of the files that are joined."""

    key: str
    shares: Sequence[Share]
    block: str
    method: str
    dtype: torch.dtype

    def joined(self, combine: Combine, rule: RankRule | None) -> tuple[Adapter | None, ModuleResult]:
        before = max(share.adapter.rank for share in self.shares)
        acting = [share for share in self.shares if share.q != 0]
        if not acting:
            return None, ModuleResult(self.block, before, 0)
        refuse_unknown_numbers(self.key, acting, self.method)
        weight, bias = self._weight(acting, combine), self._bias(acting, combine)
        wanted = sum(_squared(tensor) for tensor in (weight, bias) if tensor is not None)
        if not math.isfinite(wanted):
            raise InputError(
                "The sum holds numbers that are not finite", where=self.key, cure="Choose smaller strengths."
            )
        if wanted == 0:
            return None, ModuleResult(self.block, before, 0)
        if weight is None or weight.ndim == 1:
            adapter, error = dense_adapter(
                self.key, [share.adapter for share in acting], weight, bias, dtype=self.dtype
            )
            return adapter, ModuleResult(self.block, before, adapter.rank, wanted, wanted, error)
        made, kept, error = self._low_rank(weight, rule or RankRule("rank", _ranks(acting)))
        if bias is not None:
            low = bias.to(self.dtype)
            made, kept = BiasAdapter(self.key, made, low), kept + _squared(bias)
            error += _squared(bias - low.float())
        after = 0 if made is None else made.rank
        return made, ModuleResult(self.block, before, after, wanted=wanted, kept=kept, error=error)

    def _weight(self, acting: Sequence[Share], combine: Combine) -> Tensor | None:
        having = [share for share in acting if share.adapter.weight_part is not None]
        if not having:
            return None
        shape = common_shape(self.key, having)
        changes = [share.adapter.delta().detach().reshape(shape) * share.q for share in having]
        return combine(changes, [f"{share.index} {self.key}" for share in having])

    def _bias(self, acting: Sequence[Share], combine: Combine) -> Tensor | None:
        found = [(change, share) for share in acting if (change := share.adapter.bias_delta(None)) is not None]
        if not found:
            return None
        changes = [change.detach() * share.q for change, share in found]
        return combine(changes, [f"{share.index} {self.key} bias" for _, share in found])

    def _low_rank(self, weight: Tensor, rule: RankRule) -> tuple[Adapter | None, float, float]:
        """Return a dense change as a LoRA, its squared norm, and its squared error."""
        found, count = leading(weight.flatten(1), rule)
        if count == 0:
            return None, 0.0, _squared(weight)
        small, rounding = truncated(self.key, found, count=count, shape=tuple(weight.shape), dtype=self.dtype)
        squares, whole = found.sigma.double().square(), _squared(weight)
        kept, left_out = float(squares[:count].sum()), float(squares[count:].sum())
        if len(squares) < min(weight.flatten(1).shape):  # the others were not looked for
            left_out = max(0.0, whole - kept)
        return small, kept, left_out + rounding


def _ranks(shares: Sequence[Share]) -> int:
    """Return the rank that the exact sum of changes would have; the layer's sides bound it."""
    ranks = (
        part.rank if part.is_thin else part.factors().up.shape[1]
        for share in shares
        if (part := share.adapter.weight_part) is not None
    )
    return max(1, sum(ranks))


def _squared(tensor: Tensor) -> float:
    return float(tensor.detach().double().square().sum())

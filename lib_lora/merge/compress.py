"""Compressing: each module keeps only the strongest directions of its change, found from its factors."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import torch

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, LoraAdapter
from lib_lora.formats.adapters.parts import as_fp32
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.difference import refuse_dependent
from lib_lora.merge.rank import RankRule, Spectrum, full_shape, size_of, spectrum, squared_difference
from lib_lora.merge.recipe import merged, short
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

_log = logging.getLogger(__name__)


def compress(lora: LoraFile, rule: RankRule, progress: Progress = QUIET) -> tuple[LoraFile, MergeReport]:
    """Return a LoRA of lower rank: each module's best approximation (Eckart-Young) with as many directions as asked.

    LoHa, LoKr, Tucker modules and full differences become plain LoRA; a module that would not get smaller stays as it
    is, one that changes nothing is dropped. Types stay, only alpha becomes fp32. Rank and alpha of the metadata follow,
    and a step is added to its recipe. ``progress`` is told of every module, and may stop it.

    Raises:
        InputError: no module changes anything, or a change depends on the model's weights.
        StoppedError: somebody asked to stop.
    """
    refuse_dependent(lora)
    blocks = lora.blocks()
    block_of = {key: block for block, keys in blocks.items() for key in keys}
    adapters: dict[str, Adapter] = {}
    results, dropped = [], []
    for done, (key, adapter) in enumerate(lora.adapters.items(), start=1):
        reduced, result = _reduce(adapter, rule, block=block_of[key])
        results.append(result)
        if reduced is None:
            dropped.append(key)
        else:
            adapters[key] = reduced
        progress.passed(done, len(lora.adapters), say("compressing"))
    if not adapters:
        raise InputError("Nothing is left: the LoRA changes nothing", where=lora.name, cure="Choose another file.")
    step = {"op": "compress", "rule": rule.kind, "value": short(rule.value), **({"cap": rule.cap} if rule.cap else {})}
    small = merged(LoraFile(adapters, extras=lora.extras), lora, step)
    return small, MergeReport(rows_of(results, list(blocks)), lora.size, small.size, tuple(dropped))


def _reduce(adapter: Adapter, rule: RankRule, *, block: str) -> tuple[Adapter | None, ModuleResult]:
    """Return one module's smaller adapter (None where its change is zero) and its part of the report.

    A bias stays as it is beside it, and so does the change of a normalization.
    """
    part = adapter.weight_part
    if part is None or len(part.shape) == 1:
        size = size_of(adapter)
        return adapter, ModuleResult(block, adapter.rank, adapter.rank, wanted=size, kept=size)
    reduced, result = _reduce_weight(part, rule, block=block)
    kept = adapter.with_weight_part(reduced)
    return kept, replace(result, rank_after=result.rank_after if kept is None else max(result.rank_after, 1))


def _reduce_weight(adapter: Adapter, rule: RankRule, *, block: str) -> tuple[Adapter | None, ModuleResult]:
    """Return the smaller adapter of a change of a weight matrix, and its part of the report."""
    factors = adapter.factors()
    try:
        found = spectrum(factors)
    except torch.linalg.LinAlgError as error:
        _log.warning("%s stays as it is, its SVD does not converge: %s", adapter.key, error)
        return adapter, ModuleResult(block, adapter.rank, adapter.rank)
    squares = found.sigma.double().square()
    total, count = float(squares.sum()), rule.choose(found.sigma)
    if count == 0:
        return None, ModuleResult(block, adapter.rank, 0)
    if count * (found.left.shape[0] + found.right.shape[1]) >= sum(t.numel() for t in adapter.parameters()):
        return adapter, ModuleResult(block, adapter.rank, adapter.rank, wanted=total, kept=total)
    small, rounding = _lowrank(adapter, found, count=count, shape=full_shape(adapter.key, factors))
    kept, lost = float(squares[:count].sum()), float(squares[count:].sum())
    return small, ModuleResult(block, adapter.rank, count, wanted=total, kept=kept, error=lost + rounding)


def _lowrank(adapter: Adapter, found: Spectrum, *, count: int, shape: tuple[int, ...]) -> tuple[LoraAdapter, float]:
    """Return the LoRA of the first ``count`` directions in the adapter's type, and its squared rounding error.

    √σ goes on both sides and the adapter's alpha/rank stays, which keeps numbers in fp16's range; where it does not,
    alpha takes up the difference.
    """
    dtype, kept = adapter.parameters()[0].dtype, float(found.sigma[:count].double().square().sum())
    rows, columns = found.left.shape[0], found.right.shape[1]
    near_one = float(found.sigma[0]) / math.sqrt(rows * columns)  # with this scale factors hold numbers around 1
    for scale in (abs(adapter.scale()), math.ldexp(1.0, math.frexp(near_one)[1])):
        small, error = _rounded(adapter.key, found, count=count, shape=shape, scale=scale, dtype=dtype)
        if error <= torch.finfo(dtype).eps ** 2 * kept:
            return small, error
    _log.warning("%s is kept in fp32: its numbers do not fit into %s.", adapter.key, dtype)
    return _rounded(adapter.key, found, count=count, shape=shape, scale=scale, dtype=torch.float32)


def _rounded(
    key: str, found: Spectrum, *, count: int, shape: tuple[int, ...], scale: float, dtype: torch.dtype
) -> tuple[LoraAdapter, float]:
    """Return a truncated spectrum as a LoRA of a type, and its squared rounding error (infinite on overflow)."""
    root = (found.sigma[:count] / scale).sqrt()
    up, down = found.left[:, :count] * root, root[:, None] * found.right[:count]
    low_up, low_down = up.to(dtype), down.to(dtype)
    error = squared_difference(up, down, low_up.float(), low_down.float()) * scale**2
    if len(shape) == 4:
        low_up, low_down = low_up[:, :, None, None], low_down.reshape(count, *shape[1:])
    adapter = LoraAdapter(key, low_up.contiguous(), low_down.contiguous(), None, as_fp32(scale * count))
    return adapter, error if math.isfinite(error) else math.inf

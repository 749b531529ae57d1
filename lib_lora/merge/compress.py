"""Compressing: each module keeps only the strongest directions of its change, found from its factors."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.difference import refuse_dependent
from lib_lora.merge.rank import RankRule, full_shape, size_of, spectrum
from lib_lora.merge.recipe import merged, short
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.merge.truncated import truncated
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
    dtype, scale = adapter.parameters()[0].dtype, abs(adapter.scale())
    shape = full_shape(adapter.key, factors)
    small, rounding = truncated(adapter.key, found, count=count, shape=shape, dtype=dtype, scale=scale)
    kept, lost = float(squares[:count].sum()), float(squares[count:].sum())
    return small, ModuleResult(block, adapter.rank, count, wanted=total, kept=kept, error=lost + rounding)

"""Baking: block weights become part of the file, so that anyone gets the tuned LoRA without typing numbers."""

from __future__ import annotations

from collections.abc import Mapping

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.adapters.on_disk import Scratch
from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import multiplier_of
from lib_lora.merge.rank import size_of
from lib_lora.merge.recipe import merged, short
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


def bake(lora: LoraFile, multipliers: Mapping[str, float], progress: Progress = QUIET) -> tuple[LoraFile, MergeReport]:
    """Return a LoRA whose change of every block is the given multiple, as live block weights would apply it.

    ``multipliers`` has a finite number for every block that the LoRA has modules in, BASE and ``other`` included.
    Modules at 0 are dropped, at 1 keep their tensors; types stay, only alpha becomes fp32. Rank and alpha of the
    metadata follow, and a step is added to its recipe. ``progress`` is told of every module, and may stop it.

    Raises:
        InputError: a number is missing or not finite, nothing is left, or a kind of change has no such multiple
            (`lib_lora.merge.difference` makes full differences of those).
        StoppedError: somebody asked to stop.
    """
    blocks = lora.blocks()
    strengths = {block: multiplier_of(block, multipliers) for block in blocks}
    block_of = {key: block for block, keys in blocks.items() for key in keys}
    adapters = Scratch()
    results, dropped = [], []
    for done, (key, adapter) in enumerate(lora.adapters.items()):
        progress.passed(done, len(lora.adapters), say("baking"))
        block = block_of[key]
        q = strengths[block]
        if q == 0:
            dropped.append(key)
            results.append(ModuleResult(block, rank_before=adapter.rank, rank_after=0))
            continue
        scaled = adapter.scaled(q)
        results.append(rounded_part(block, adapter, scaled, q=q))
        adapters[key] = scaled
    progress.passed(len(lora.adapters), len(lora.adapters), say("baking"))
    if not adapters:
        raise InputError("Nothing is left: every block has weight 0", where=lora.name, cure="Keep at least one block.")
    step = {"op": "bake", "blocks": {block: short(q) for block, q in strengths.items()}}
    baked = merged(LoraFile(adapters, extras=lora.extras), lora, step)
    report = MergeReport(rows_of(results, list(blocks)), lora.size, baked.size, tuple(dropped))
    return baked, report


def rounded_part(block: str, before: Adapter, after: Adapter, *, q: float) -> ModuleResult:
    """Return a module's row part, with the error of rounding; of a kind that needs the weight that of its numbers."""
    norm = size_of(before) * q * q
    if before.has_factors or before.needs_weight:  # a product: only alpha and the first tensor changed
        error = _first_error(before, after, q) * norm
    else:
        error = float((before.delta().double() * q - after.delta().double()).square().sum())
    return ModuleResult(block, before.rank, after.rank, wanted=norm, kept=norm, error=error)


def _first_error(before: Adapter, after: Adapter, q: float) -> float:
    """Return the relative squared error of the first tensor times alpha/rank."""
    first, scaled = before.parameters()[0].detach().double(), after.parameters()[0].detach().double()
    wanted, got = first * (q * before.scale()), scaled * after.scale()
    size = float(wanted.square().sum())
    return float((got - wanted).square().sum()) / size if size else 0.0

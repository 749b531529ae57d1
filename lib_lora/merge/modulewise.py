"""Joining files module by module: what each does to a module becomes one adapter, and all of them a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.adapters.on_disk import Scratch
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile, in_order_of_blocks
from lib_lora.merge.recipe import merged_from_many
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.merge.shares import Share, Summand, all_extras, family_of_all, shares_by_module
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence

Join = Callable[[str, Sequence[Share], str], tuple[Adapter | None, ModuleResult]]
"""Gets a module's key, what each file does to it and its block; returns its adapter (None: nothing is left)."""


def module_by_module(
    parts: Sequence[Summand], join: Join, *, doing: Sentence, step: Mapping[str, object], progress: Progress
) -> tuple[LoraFile, MergeReport]:
    """Return the LoRA of all modules that the parts have, and the report of it.

    Args:
        parts: what is joined.
        join: makes one module.
        doing: what `progress` is told, of every module; it may stop the work.
        step: what the recipe tells of it, beside the sources.
        progress: see `doing`.

    Raises:
        InputError: no part, files for different families, extras that contradict each other, a multiple is missing or
            not finite, or nothing is left.
        StoppedError: somebody asked to stop.
    """
    family = family_of_all(parts)
    shares = shares_by_module(parts, family)
    adapters = Scratch()
    results, dropped = [], []
    for done, (key, found) in enumerate(shares.items(), start=1):
        made, result = join(key, found, block_of_key(key, family))
        results.append(result)
        if made is None:
            dropped.append(key)
        else:
            adapters[key] = made
        progress.passed(done, len(shares), doing)
    if not adapters:
        raise InputError("Nothing is left: the new file would change nothing", cure="Keep a strength that is not 0.")
    whole = LoraFile(adapters, extras=all_extras(parts))
    order = list(in_order_of_blocks({block_of_key(key, family): None for key in shares}, family))
    saved = merged_from_many(whole, [(part.lora, part.used) for part in parts], step)
    before = sum(part.lora.size for part in parts)
    return saved, MergeReport(rows_of(results, order), before, saved.size, tuple(dropped))

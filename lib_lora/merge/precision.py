"""Another precision for a LoRA, with the error that it makes."""

from __future__ import annotations

import math
from typing import Literal

import torch

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.rank import size_of, squared_difference
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

Precision = Literal["fp16", "bf16", "fp32"]
TYPES: dict[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def convert(lora: LoraFile, precision: Precision, progress: Progress = QUIET) -> tuple[LoraFile, MergeReport]:
    """Return the LoRA with its numbers in another precision; alpha stays fp32, extras stay as they are.

    ``progress`` is told of every module, and may stop it.

    Raises:
        InputError: a number is too large for the precision.
        StoppedError: somebody asked to stop.
    """
    dtype, results, adapters = TYPES[precision], [], {}
    blocks = lora.blocks()
    for block, keys in blocks.items():
        for key in keys:
            before, after = lora.adapters[key], lora.adapters[key].to(dtype=dtype)
            if not all(bool(torch.isfinite(tensor).all()) for tensor in after.parameters()):
                raise InputError(
                    "Numbers are too large for {kind}", kind=precision, where=key, cure="Save as bf16 or fp32."
                )
            adapters[key] = after
            size = size_of(before)
            error = _squared_error(before, after)
            results.append(ModuleResult(block, before.rank, after.rank, wanted=size, kept=size, error=error))
            progress.passed(len(adapters), len(lora.adapters), say("converting"))
    saved = LoraFile({key: adapters[key] for key in lora.adapters}, lora.metadata, lora.extras, lora.path)
    return saved, MergeReport(rows_of(results, list(blocks)), lora.size, saved.size, ())


def _squared_error(before: Adapter, after: Adapter) -> float:
    if all(torch.equal(a.float(), b.float()) for a, b in zip(before.parameters(), after.parameters(), strict=True)):
        return 0.0
    if before.needs_weight:  # as `size_of`: the error of its numbers
        pairs = zip(before.parameters(), after.parameters(), strict=True)
        return sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    if not before.is_thin:
        return float((before.delta() - after.delta()).double().square().sum())
    one, two = before.factors(), after.factors()
    error = squared_difference(one.up, one.down, two.up, two.down)
    return error if math.isfinite(error) else math.inf

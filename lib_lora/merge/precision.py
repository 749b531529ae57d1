"""Another precision for a LoRA, with the error that it makes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.adapters.on_disk import Scratch
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
    dtype, results, adapters = TYPES[precision], [], Scratch()
    block_of = {key: block for block, keys in lora.blocks().items() for key in keys}
    for done, (key, before) in enumerate(lora.adapters.items(), start=1):
        after = before.to(dtype=dtype)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in after.parameters()):
            raise InputError(
                "Numbers are too large for {kind}", kind=precision, where=key, cure="Save as bf16 or fp32."
            )
        adapters[key] = after
        size, error = squared_size(before), squared_error(before, after)
        results.append(ModuleResult(block_of[key], before.rank, after.rank, wanted=size, kept=size, error=error))
        progress.passed(done, len(lora.adapters), say("converting"))
    saved = LoraFile(adapters, lora.metadata, lora.extras, lora.path)
    return saved, MergeReport(rows_of(results, list(lora.blocks())), lora.size, saved.size, ())


def squared_error(before: Adapter, after: Adapter) -> float:
    """Return the squared norm of what the changes of two adapters differ in: one, and the same rounded or rewritten.

    Of a change that depends on the model's weights it is that of its numbers.
    """
    one, two = before.parameters(), after.parameters()
    if len(one) == len(two) and before.alpha == after.alpha and all(map(_same_numbers, one, two)):
        return 0.0
    inner, other = _inside(before), _inside(after)
    if inner is not None and other is not None:
        own = zip(_own(before, inner), _own(after, other), strict=True)
        return squared_error(inner, other) + sum(_distance(a, b) for a, b in own)
    if before.needs_weight:
        return sum(map(_distance, one, two))
    if not before.is_thin:
        return _distance(before.delta(), after.delta())
    left, right = before.factors(), after.factors()
    # Where the scale went from one side to the other, the formula would cancel: it is put there first.
    q = before.scale() / after.scale()
    ways = ((left.up, left.down), (left.up / q, left.down * q))
    error = min(squared_difference(up, down, right.up, right.down) for up, down in ways)
    return error if math.isfinite(error) else math.inf


def squared_size(adapter: Adapter) -> float:
    """Return the squared norm that an error of `squared_error` is a share of."""
    inner = _inside(adapter)
    if inner is None:
        return size_of(adapter)
    return squared_size(inner) + sum(float(tensor.double().square().sum()) for tensor in _own(adapter, inner))


def _inside(adapter: Adapter) -> Adapter | None:
    found = getattr(adapter, "inner", None)
    return found if isinstance(found, Adapter) else None


def _own(adapter: Adapter, inner: Adapter) -> list[Tensor]:
    """Return the numbers of an adapter that are not of the one inside of it."""
    taken = {id(tensor) for tensor in inner.parameters()}
    return [tensor for tensor in adapter.parameters() if id(tensor) not in taken]


def _same_numbers(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.float(), other.float())


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).square().sum())

"""Each layer from the LoRA that says most there, as K-LoRA does (Ouyang et al. 2025, arXiv:2502.18461).

A layer's LoRAs are compared by the sum of the K largest numbers of their changes, K the product of their ranks, each as
a share of all that its file changes in the layers that are compared: a file that was trained more strongly does not win
for that. K-LoRA also favors the subject in early steps and the style in late ones, which a file cannot.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile
from lib_lora.merge.bake import rounded_part
from lib_lora.merge.modulewise import module_by_module
from lib_lora.merge.report import MergeReport, ModuleResult
from lib_lora.merge.shares import (
    Share,
    Shares,
    Summand,
    common_shape,
    family_of_all,
    refuse_unknown_numbers,
    renamed,
    shares_by_module,
)
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

Taken = dict[str, tuple[int, ...]]
"""By block, how many of its modules come from each file."""


@dataclass(frozen=True)
class _Loudness:
    """What a file says in one layer: the sum of its largest numbers, and of all, both of their sizes."""

    top: float
    whole: float


def pick_layers(parts: Sequence[Summand], progress: Progress = QUIET) -> tuple[LoraFile, MergeReport, Taken]:
    """Return the LoRA of which each module is that of one part, times its multiple, and whose they are.

    A module keeps its kind and its numbers; where several say as much, it is that of the first.

    Args:
        parts: what is chosen from, two at least; a change counts times its multiple.
        progress: is told of every module, twice, and may stop it.

    Raises:
        InputError: as `module_by_module`; or a change depends on the model's weights, or is of another shape.
        StoppedError: somebody asked to stop.
    """
    family = family_of_all(parts)
    chosen = _chosen(shares_by_module(parts, family), progress)
    taken: dict[str, Counter[int]] = {}

    def join(key: str, shares: Sequence[Share], block: str) -> tuple[Adapter | None, ModuleResult]:
        before = max(share.adapter.rank for share in shares)
        if key not in chosen:
            return None, ModuleResult(block, before, 0)
        share = next(share for share in shares if share.index == chosen[key])
        scaled = renamed(share.adapter, key).scaled(share.q)
        taken.setdefault(block_of_key(key, family), Counter())[share.index] += 1
        return scaled, rounded_part(block, share.adapter, scaled, q=share.q)

    lora, report = module_by_module(parts, join, doing=say("joining"), step={"op": "k_lora"}, progress=progress)
    return lora, report, {block: tuple(count[n] for n in range(len(parts))) for block, count in taken.items()}


def _chosen(modules: Shares, progress: Progress) -> dict[str, int]:
    """Return the index of the file that each module is taken from; of a module that none changes none."""
    chosen: dict[str, int] = {}
    heard: dict[str, dict[int, _Loudness]] = {}
    strength: dict[str, dict[int, float]] = {}
    for done, (key, shares) in enumerate(modules.items(), start=1):
        acting = [share for share in shares if share.q != 0]
        strength[key] = {share.index: abs(share.q) for share in shares}
        if len(acting) == 1:
            chosen[key] = acting[0].index
        elif acting:
            heard[key] = _heard(key, acting)
        progress.passed(done, len(modules), say("comparing"))
    totals: defaultdict[int, float] = defaultdict(float)
    for found in heard.values():
        for index, loudness in found.items():
            totals[index] += loudness.whole
    for key, found in heard.items():
        says = {
            index: strength[key][index] * loudness.top / totals[index] if totals[index] else 0.0
            for index, loudness in found.items()
        }
        chosen[key] = max(says, key=lambda index: (says[index], -index))
    return chosen


def _heard(key: str, shares: Sequence[Share]) -> dict[int, _Loudness]:
    refuse_unknown_numbers(key, shares, "k_lora")
    having = [share for share in shares if share.adapter.weight_part is not None]
    if having:
        common_shape(key, having)
    ranks = sorted((_rank(share.adapter) for share in shares), reverse=True)
    return {share.index: _loudness(share.adapter, ranks[0] * ranks[1]) for share in shares}


def _loudness(adapter: Adapter, count: int) -> _Loudness:
    numbers = [] if adapter.weight_part is None else [adapter.delta()]
    bias = adapter.bias_delta(None)
    sizes = torch.cat([_sizes(tensor) for tensor in (*numbers, *([] if bias is None else [bias]))])
    if not bool(torch.isfinite(sizes).all()):
        raise InputError(
            "The sum holds numbers that are not finite", where=adapter.key, cure="Choose smaller strengths."
        )
    top = torch.topk(sizes, min(count, sizes.numel()), sorted=False).values
    return _Loudness(float(top.double().sum()), float(sizes.double().sum()))


def _sizes(tensor: Tensor) -> Tensor:
    return tensor.detach().float().abs().flatten()


def _rank(adapter: Adapter) -> int:
    """Return an adapter's rank; of one that states none the smaller side of its weight."""
    stated = adapter.stated_rank
    if stated is not None or adapter.weight_part is None:
        return stated or 1
    rows, *rest = adapter.shape
    return min(rows, max(1, torch.Size(rest).numel()))

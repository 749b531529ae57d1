"""Compressing: each module keeps only the strongest directions of its change, found from its factors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.adapters.on_disk import Scratch
from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import HasLayers
from lib_lora.merge.beside_model import largest_of
from lib_lora.merge.budget import Candidate, SavedAs, candidate, outlined, share_out
from lib_lora.merge.difference import refuse_dependent
from lib_lora.merge.rank import full_shape, singular_values, size_of
from lib_lora.merge.rank_rule import Largest, RankRule
from lib_lora.merge.recipe import merged
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.merge.truncated import Choose, cut
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

_log = logging.getLogger(__name__)


def compress(
    lora: LoraFile,
    rule: RankRule,
    progress: Progress = QUIET,
    *,
    model: HasLayers | None = None,
    saved: SavedAs | None = None,
) -> tuple[LoraFile, MergeReport]:
    """Return a LoRA of lower rank: each module's best approximation (Eckart-Young) with as many directions as asked.

    LoHa, LoKr, Tucker modules and full differences become plain LoRA; a module that would not get smaller stays as it
    is, one that changes nothing is dropped. Types stay, only alpha becomes fp32. Rank and alpha of the metadata follow,
    and a step is added to its recipe.

    Args:
        lora: what is made smaller.
        rule: how much of it stays.
        progress: is told of every module, and may stop it.
        model: that the LoRA was made for, for rules that look at it.
        saved: how the file is going to be saved, for a rule that is its size.

    Raises:
        InputError: no module changes anything, a change depends on the model's weights, the rule cannot be followed, or
            one of its parts holds for no module.
        StoppedError: somebody asked to stop.
    """
    refuse_dependent(lora)
    work = _Work(lora, rule, saved or SavedAs(), largest_of(model, lora, rule), progress)
    if rule.kind != "size":
        return work.reduced(work.by_rule)
    candidates = work.candidates()
    excess = 0
    while True:
        counts = share_out(candidates, rule, work.outline, work.saved, excess=excess)
        small, report = work.reduced(work.by_count(counts))
        more = work.saved.size(small) - work.saved.size(work.outline(counts))  # a module that only fp32 holds
        if work.saved.size(small) <= rule.value * 1e6:
            return small, report
        excess = more


@dataclass(frozen=True)
class _Work:
    """A file that is made smaller."""

    lora: LoraFile
    rule: RankRule
    saved: SavedAs
    largest: Largest | None
    progress: Progress

    def __post_init__(self) -> None:
        self.rule.refuse_unused(self.block_of, where=self.lora.name)

    @cached_property
    def block_of(self) -> dict[str, str]:
        return {key: block for block, keys in self.lora.blocks().items() for key in keys}

    @property
    def step(self) -> dict[str, object]:
        return {"op": "compress", **self.rule.step()}

    def by_rule(self, key: str, block: str) -> Choose:
        """Return how many directions of a module the rule keeps."""
        return self.rule.at(block, key, self.largest).choose

    def by_count(self, counts: Mapping[str, int]) -> Callable[[str, str], Choose]:
        """Return the same for directions that were counted before; of a module without a count all stay."""
        return lambda key, _: lambda sigma: counts.get(key, len(sigma))

    def reduced(self, choose: Callable[[str, str], Choose]) -> tuple[LoraFile, MergeReport]:
        """Return the smaller file and its report."""
        adapters = Scratch()
        results, dropped, block_of = [], [], self.block_of
        for done, (key, adapter) in enumerate(self.lora.adapters.items(), start=1):
            block = block_of[key]
            small, result = reduce(adapter, choose(key, block), block=block)
            results.append(result)
            if small is None:
                dropped.append(key)
            else:
                adapters[key] = small
            self.progress.passed(done, len(self.lora.adapters), say("compressing"))
        made = self._file(adapters)
        rows = rows_of(results, list(self.lora.blocks()))
        return made, MergeReport(rows, self.lora.size, made.size, tuple(dropped))

    def _file(self, adapters: Mapping[str, Adapter]) -> LoraFile:
        if not adapters:
            if self.rule.kind == "base_ratio":
                cure = say("Choose a larger value, another rule, or another file.")
                what = say("Nothing is left: no direction is strong enough beside the model")
                raise InputError(what, where=self.lora.name, cure=cure)
            what = say("Nothing is left: the LoRA changes nothing")
            raise InputError(what, where=self.lora.name, cure="Choose another file.")
        made = merged(LoraFile(adapters, extras=self.lora.extras), self.lora, self.step)
        made.family = self.lora.family
        return made

    def candidates(self) -> dict[str, Candidate]:
        """Return what competes for the size, of all modules whose singular values can be found."""
        found: dict[str, Candidate] = {}
        for done, (key, adapter) in enumerate(self.lora.adapters.items(), start=1):
            part = adapter.weight_part
            if part is not None and len(part.shape) > 1:
                one = self._candidate(adapter, part)
                found.update({key: one} if one is not None else {})
            self.progress.passed(done, len(self.lora.adapters), say("measuring"))
        return found

    def _candidate(self, adapter: Adapter, part: Adapter) -> Candidate | None:
        try:
            sigma = singular_values(part.factors()).double()
        except torch.linalg.LinAlgError:  # it stays as it is, and `_reduce_weight` says so
            return None
        count = self.rule.choose(sigma)
        dtype, of = self.saved.dtype, self.rule.part_of(self.block_of[adapter.key], adapter.key)
        whole = sum(t.numel() * (dtype or t.dtype).itemsize for t in part.parameters())
        found = candidate(adapter, sigma[:count], dtype, rest=float(sigma[count:].square().sum()), part=of)
        capped = count == self.rule.cap and count * found.price < whole
        return found if capped else replace(found, whole=whole)

    def outline(self, counts: Mapping[str, int]) -> LoraFile:
        """Return the file of a choice of directions, its numbers not known."""
        adapters = {}
        for key, adapter in self.lora.outline.items():
            count = counts.get(key)
            kept: Adapter | None = adapter
            if count is not None:
                kept = outlined(adapter, count) if count < _most(adapter.weight_part) else adapter
            if kept is not None:
                adapters[key] = kept
        return self._file(adapters)


def reduce(adapter: Adapter, choose: Choose, *, block: str) -> tuple[Adapter | None, ModuleResult]:
    """Return one module's smaller adapter (None where its change is zero) and its part of the report.

    A bias stays as it is beside it, and so does the change of a normalization.
    """
    part = adapter.weight_part
    if part is None or len(part.shape) == 1:
        size = size_of(adapter)
        return adapter, ModuleResult(block, adapter.rank, adapter.rank, wanted=size, kept=size)
    reduced, result = _reduce_weight(part, choose, block=block)
    kept = adapter.with_weight_part(reduced)
    return kept, replace(result, rank_after=result.rank_after if kept is None else max(result.rank_after, 1))


def _reduce_weight(adapter: Adapter, choose: Choose, *, block: str) -> tuple[Adapter | None, ModuleResult]:
    """Return the smaller adapter of a change of a weight matrix, and its part of the report."""
    factors, before = adapter.factors(), adapter.rank
    dtype, scale, most = adapter.parameters()[0].dtype, abs(adapter.scale()), _most(adapter)
    shape = full_shape(adapter.key, factors)
    try:
        made = cut(adapter.key, factors, choose, most=most, shape=shape, dtype=dtype, scale=scale)
    except torch.linalg.LinAlgError as error:
        _log.warning("%s stays as it is, its SVD does not converge: %s", adapter.key, error)
        return adapter, ModuleResult(block, before, before)
    stays = made.count >= most
    after = before if stays else made.count
    result = ModuleResult(block, before, after, wanted=made.wanted, kept=made.kept, error=made.error)
    return adapter if stays else made.adapter, result


def _most(part: Adapter | None) -> int:
    """Return from how many directions on a LoRA would have no fewer numbers than a change of a weight has."""
    assert part is not None
    rows, *rest = part.shape
    return max(1, -(-sum(t.numel() for t in part.parameters()) // (rows + prod(rest))))

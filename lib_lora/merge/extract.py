"""Extracting: what a tuned checkpoint learned beyond its original becomes a LoRA, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from lib_lora.architectures.stored import StoredLayer
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, BiasAdapter, FullAdapter, LoraAdapter, NormAdapter
from lib_lora.formats.checkpoint import COMPUTED, CheckpointFile
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile, all_finite, in_order_of_blocks, natural, predicted_size
from lib_lora.formats.metadata import network_facts
from lib_lora.formats.one_by_one import OpenTensors, open_tensors
from lib_lora.merge.budget import SavedAs, candidate, outlined, share_out
from lib_lora.merge.extract_spec import SIZE_RANK, ExtractSpec
from lib_lora.merge.make import Made
from lib_lora.merge.pairing import Pair, both_names, pair, rest_of
from lib_lora.merge.precision import TYPES
from lib_lora.merge.provenance import noted, of_extract, with_room
from lib_lora.merge.rank import Spectrum, largest_singular_value, squared
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.recipe import of_checkpoints
from lib_lora.merge.report import MergeReport, ModuleResult, rows_of
from lib_lora.merge.sketch import leading
from lib_lora.merge.truncated import truncated
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import Sentence, say

_MANTISSA = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23, torch.float64: 52}
"""Bits behind the leading one of a number."""
_SLICE = 2**20
"""Numbers that are looked at at once."""
_MARGIN = 1.1
"""By how much chance may exceed what is expected of it."""


@dataclass
class _Found:
    """What was extracted so far.

    Attributes:
        adapters: of every layer that changed.
        sigmas: the singular values behind each adapter that has some, for a size to be kept.
        results: a part of the report for each layer.
        unchanged, weak: layers that are the same but for rounding; those that lost directions to rounding.
        rest: squared norms of the changes of norms and biases, by layer, that were left out.
        convolutions: layers that were left out because their rank is 0.
        whole: layers whose SVD does not converge.
    """

    adapters: dict[str, Adapter] = field(default_factory=dict)
    sigmas: dict[str, Tensor] = field(default_factory=dict)
    results: dict[str, ModuleResult] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    weak: int = 0
    rest: dict[str, float] = field(default_factory=dict)
    convolutions: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)


def extract(
    order: ExtractSpec,
    tuned: CheckpointFile,
    original: CheckpointFile,
    progress: Progress = QUIET,
    *,
    hashes: Mapping[Path, str] = MappingProxyType({}),
    name: str = "unsaved",
) -> Made:
    """Return the LoRA that turns the original into the tuned checkpoint as nearly as its ranks allow, not yet saved.

    Of each layer the difference's strongest directions are kept (Eckart-Young; `sketch.leading`). Both files are read
    one layer at a time. Directions that are no stronger than what the rounding of the files' own numbers makes by
    itself are noise and not kept; a layer without any other is unchanged, and left out.

    Args:
        order: ranks, precision, and what is extracted.
        tuned, original: two checkpoints of one family.
        progress: is told of every layer, and may stop it.
        hashes: SHA-256 of the files, for the recipe.
        name: of the new file, without ending, for a rule that is its size.

    Raises:
        InputError: the checkpoints are of different families or have no layer in common, nothing differs, or the size
            that was asked for is too small. FileError: a file cannot be read, or holds numbers that are not finite.
        StoppedError: somebody asked to stop.
    """
    pairs, notes = pair(tuned, original)
    pairs = [one for one in pairs if order.text or not one.key.startswith("lora_te")]
    blocks = {one.key: block_of_key(one.key, tuned.family.name) for one in pairs}
    order.rule.refuse_unused(blocks, where=tuned.path.stem)
    found = _Found()
    with open_tensors(tuned.path) as new, open_tensors(original.path) as old:
        for number, one in enumerate(sorted(pairs, key=lambda one: natural(one.key))):
            progress.passed(number, len(pairs), say("extracting"))
            _layer(order, one, new, old, found, block=blocks[one.key])
        progress.passed(len(pairs), len(pairs), say("extracting"))
        notes += rest_of(tuned, original, new, old, progress)
    if not found.adapters:
        raise InputError(
            "Nothing is left: the layers of both checkpoints differ by rounding at most",
            where=both_names(tuned, original),
            cure="Choose the checkpoint that was tuned, and the one that it was tuned from.",
        )
    lora = of_checkpoints(LoraFile(found.adapters), order, tuned, original, hashes)
    if order.rule.kind == "size":
        lora = _small_enough(
            lora, found, order.rule, blocks, SavedAs(name, more=with_room(of_extract(order, hashes, name=name)))
        )
    order_of_blocks = in_order_of_blocks({one.block: None for one in found.results.values()}, tuned.family.name)
    rows = rows_of(found.results.values(), list(order_of_blocks))
    before = tuned.header.size + original.header.size
    report = MergeReport(rows, before, 0, tuple(found.unchanged))
    lora.metadata = noted(lora.metadata, of_extract(order, hashes, name=name, error=report.relative_error))
    report = replace(report, bytes_after=predicted_size(lora, name=name))
    return Made(lora, report, (), tuple((tuned.path.stem, note) for note in (*notes, *_notes(found, lora))))


def _layer(order: ExtractSpec, one: Pair, new: OpenTensors, old: OpenTensors, found: _Found, *, block: str) -> None:
    """Extract one layer: its weight's change, and its bias' where that is asked for."""
    adapter: Adapter | None = None
    result = ModuleResult(block, 1, 0)
    if len(one.shape) > 1:
        rule = _rule_for(order, one.shape)
        if rule is None:
            found.convolutions.append(one.key)
            return
        adapter, result = _weight(order, one, new, old, found, rule=rule, block=block)
    norm = _difference(one, new, old, part="weight") if len(one.shape) == 1 else None
    bias = _difference(one, new, old, part="bias") if one.has_bias else None
    adapter, result = _with_rest(order, adapter, result, found, one=one, norm=norm, bias=bias)
    if adapter is None:
        if one.key not in found.rest:
            found.unchanged.append(one.key)
    else:
        found.adapters[one.key] = adapter
    if len(one.shape) > 1 or adapter is not None:
        found.results[one.key] = result


def _rule_for(order: ExtractSpec, shape: tuple[int, ...]) -> RankRule | None:
    """Return a layer's rule; None where it is left out."""
    if order.conv_rank is None or len(shape) != 4 or shape[2:] == (1, 1):
        return RankRule("rank", order.rule.cap or SIZE_RANK) if order.rule.kind == "size" else order.rule
    return RankRule("rank", order.conv_rank) if order.conv_rank else None


def _weight(
    order: ExtractSpec, one: Pair, new: OpenTensors, old: OpenTensors, found: _Found, *, rule: RankRule, block: str
) -> tuple[Adapter | None, ModuleResult]:
    """Return the low-rank change of a layer's weight, None where it is unchanged, and its part of the report."""
    change, floor, rule = _change(one, new, old, rule, block=block)
    total, full = squared(change), min(change.shape)
    if total == 0:
        return None, ModuleResult(block, full, 0)
    try:
        spectrum, count = leading(change, rule, floor=floor)
    except torch.linalg.LinAlgError:
        found.whole.append(one.key)
        low = change.to(TYPES[order.precision])
        rounded = squared(change - low.float())
        result = ModuleResult(block, full, full, wanted=total, kept=total, error=rounded)
        return FullAdapter(one.key, low.reshape(one.shape)), result
    found.weak += 0 < count < rule.choose(spectrum.sigma, energy=total)
    if count == 0:
        return None, ModuleResult(block, full, 0)
    adapter, rounded = truncated(one.key, spectrum, count=count, shape=one.shape, dtype=TYPES[order.precision])
    lost = _lost(change, spectrum, count, total=total)
    found.sigmas[one.key] = spectrum.sigma[:count].clone()
    return adapter, ModuleResult(block, full, count, wanted=total, kept=total - lost, error=lost + rounded)


def _change(
    one: Pair, new: OpenTensors, old: OpenTensors, rule: RankRule, *, block: str
) -> tuple[Tensor, float, RankRule]:
    """Return a layer's change as a matrix, the singular value that rounding alone can make, and the layer's rule."""
    tuned, original = _read(one.new, new, part="weight"), _read(one.old, old, part="weight")
    floor = _MARGIN * max(_largest_of_rounding(tuned), _largest_of_rounding(original))
    rule = rule.at(block, one.key, lambda _: largest_singular_value(original.flatten(1)))
    return (tuned.float() - original.float()).flatten(1), floor, rule


def _lost(change: Tensor, spectrum: Spectrum, count: int, *, total: float) -> float:
    """Return the squared norm of what the first directions leave of a change, measured where subtracting is too coarse.

    Either way it is exact for a sketch, too: what it keeps is a projection of the change.
    """
    lost = total - float(spectrum.sigma[:count].double().square().sum())
    if lost > 1e-4 * total:
        return lost
    kept = (spectrum.left[:, :count] * spectrum.sigma[:count]) @ spectrum.right[:count]
    return squared(change - kept)


def _with_rest(
    order: ExtractSpec,
    adapter: Adapter | None,
    result: ModuleResult,
    found: _Found,
    *,
    one: Pair,
    norm: Tensor | None,
    bias: Tensor | None,
) -> tuple[Adapter | None, ModuleResult]:
    """Return the change with those of a normalization or a bias beside it, or note that they are left out."""
    changes = (norm, bias)
    size = sum(squared(change) for change in changes if change is not None)
    if size == 0:
        return adapter, result
    if not order.norms:
        found.rest[one.key] = size
        return adapter, result
    low = [None if change is None else change.to(TYPES[order.precision]) for change in changes]
    error = sum(
        float((a.double() - b.double()).square().sum())
        for a, b in zip(changes, low, strict=True)
        if a is not None and b is not None
    )
    result = replace(
        result,
        rank_after=max(result.rank_after, 1),
        wanted=result.wanted + size,
        kept=result.kept + size,
        error=result.error + error,
    )
    if len(one.shape) == 1:
        return NormAdapter(one.key, low[0], low[1]), result
    assert low[1] is not None  # one of the two has a size
    return BiasAdapter(one.key, adapter, low[1]), result


def _difference(one: Pair, new: OpenTensors, old: OpenTensors, *, part: str) -> Tensor | None:
    """Return the change of a normalization or a bias; None where rounding explains it."""
    tuned, original = _read(one.new, new, part=part), _read(one.old, old, part=part)
    change = tuned.float() - original.float()
    noise = _MARGIN * max(_rounding(tuned), _rounding(original))
    return change if squared(change) > noise**2 * change.numel() else None


def _read(layer: StoredLayer, source: OpenTensors, *, part: str) -> Tensor:
    """Return a layer's weight or bias in the form of a Linear or a convolution.

    Raises:
        InputError: it holds numbers that cannot be computed with.
    """
    name = getattr(layer, part)
    if source.header.tensors[name].dtype not in COMPUTED:
        raise InputError(
            "The weights are quantized ({kind}), so what was learned is lost in their rounding",
            kind=source.header.tensors[name].dtype,
            where=source.where,
            cure="Use an fp16, bf16 or fp32 file of this model.",
        )
    tensor = source.tensor(name, third=layer.third)
    if not all_finite(tensor):
        cure = say("Use another file of this model.")
        raise InputError(
            "A tensor holds NaN or infinite numbers",
            where=say("{file}, {part}", file=source.where, part=name),
            cure=cure,
        )
    return tensor.T if layer.turned and part == "weight" else tensor


def _rounding(weight: Tensor) -> float:
    """Return the deviation that rounding a weight to its type gives each number: a step of the type over √12."""
    return math.sqrt(sum(float(part.sum()) for part in _variances(weight)) / weight.numel())


def _largest_of_rounding(weight: Tensor) -> float:
    """Return the largest singular value that rounding a weight to its type can make by itself.

    Steps grow with the numbers, so that rounding is not alike everywhere; a matrix of independent numbers has at most
    about the norm of its largest row's deviations plus that of its largest column's (Bandeira and van Handel 2016,
    arXiv:1408.6185), which is √m + √n where all deviate by 1.
    """
    matrix = weight.flatten(1)
    row, columns = 0.0, torch.zeros(matrix.shape[1], dtype=torch.float64)
    for part in _variances(matrix):
        row, columns = max(row, float(part.sum(1).max())), columns + part.sum(0)
    return math.sqrt(row) + math.sqrt(float(columns.max()))


def _variances(weight: Tensor) -> Iterator[Tensor]:
    """Yield the variance of each number's rounding, in fp64, some rows at a time."""
    least = -13 if weight.dtype is torch.float16 else -125  # below, steps get no smaller
    for part in weight.split(max(1, _SLICE // max(1, weight[0].numel()))):
        exponent = torch.frexp(part.float()).exponent.clamp(min=least)
        yield torch.exp2(2 * (exponent.double() - 1 - _MANTISSA[weight.dtype])) / 12


def _small_enough(lora: LoraFile, found: _Found, rule: RankRule, blocks: Mapping[str, str], saved: SavedAs) -> LoraFile:
    """Return the LoRA cut to a size, and enter what is lost into the results."""
    candidates = {
        key: candidate(lora.adapters[key], sigma, None, part=rule.part_of(blocks[key], key))
        for key, sigma in found.sigmas.items()
    }

    def outline(counts: Mapping[str, int]) -> LoraFile:
        kept = {key: one if key not in counts else outlined(one, counts[key]) for key, one in lora.adapters.items()}
        return _with_adapters(lora, kept)

    keep = share_out(candidates, rule, outline, saved)
    kept: dict[str, Adapter | None] = dict(lora.adapters)
    for key, count in keep.items():
        sigma, result, part = found.sigmas[key], found.results[key], lora.adapters[key].weight_part
        assert isinstance(part, LoraAdapter)  # what `truncated` makes
        kept[key] = lora.adapters[key].with_weight_part(_cut(part, count) if count else None)
        lost = float(sigma[count:].double().square().sum())
        found.results[key] = replace(
            result, rank_after=count, kept=max(result.kept - lost, 0.0), error=result.error + lost
        )
    return _with_adapters(lora, kept)


def _with_adapters(lora: LoraFile, found: Mapping[str, Adapter | None]) -> LoraFile:
    adapters = {key: one for key, one in found.items() if one is not None}
    if not adapters:
        raise InputError("There is nothing to write", where=lora.name, cure="Keep at least one module.")
    made = replace(lora, adapters=adapters, metadata={**lora.metadata, **network_facts(adapters)})
    made.family = lora.family
    return made


def _cut(part: LoraAdapter, count: int) -> LoraAdapter:
    up, down = part.up[:, :count].clone(), part.down[:count].clone()
    return replace(part, up=up, down=down, alpha=part.scale() * count)


def _notes(found: _Found, lora: LoraFile) -> Iterator[Sentence]:
    if found.unchanged:
        yield say(
            "{n} {n:layer is|layers are} left out: unchanged, or changed by no more than the rounding of the files' "
            "own numbers (e.g. {name}).",
            n=len(found.unchanged),
            name=found.unchanged[0],
        )
    if found.weak:
        yield say(
            "{n} {n:layer has|layers have} fewer ranks than asked for: the other directions are no stronger than "
            "rounding.",
            n=found.weak,
        )
    if found.whole:
        yield say(
            "{n} {n:layer is|layers are} kept number by number, because the SVD does not converge (e.g. {name}).",
            n=len(found.whole),
            name=found.whole[0],
        )
    if found.convolutions:
        yield say(
            "{n} 3×3 {n:convolution is|convolutions are} left out, because their rank is 0.", n=len(found.convolutions)
        )
    if found.rest:
        whole = sum(one.wanted for one in found.results.values()) + sum(found.rest.values())
        yield say(
            "Changes of norms and biases in {n} {n:layer|layers} are left out: {share:.2%} of all that changed.",
            n=len(found.rest),
            share=sum(found.rest.values()) / whole,
        )
    lost = [key for key, one in found.results.items() if one.rank_after == 0 and key in found.sigmas]
    if lost and len(lora.adapters):
        yield say("{n} {n:layer does|layers do} not fit into the size and {n:is|are} left out.", n=len(lost))

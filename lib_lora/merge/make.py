"""Making what an order says: its files are read, joined, compressed and rounded; and the numbers of what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.formats.adapters.on_disk import StoredAdapters
from lib_lora.formats.lora import LoraFile, predicted_size
from lib_lora.formats.stored_lora import open_lora
from lib_lora.live.targets import HasLayers
from lib_lora.merge import provenance
from lib_lora.merge.budget import SavedAs
from lib_lora.merge.difference import known
from lib_lora.merge.join import join
from lib_lora.merge.overlap import Overlap, overlaps
from lib_lora.merge.precision import TYPES, Precision, convert
from lib_lora.merge.project import Removal
from lib_lora.merge.recipe import short
from lib_lora.merge.report import MergeReport, then
from lib_lora.merge.shares import Summand
from lib_lora.merge.spec import Ingredient, MergeSpec, weights_of
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


@dataclass(frozen=True)
class Made:
    """What an order gives.

    Attributes:
        lora: the new one, not yet saved.
        report: what was done by block, with the sizes of whole files.
        used: each ingredient's name and its multiples by block.
        notes: an ingredient's name and what was assumed or left out on reading it, once for each file.
        overlaps: how far every two of them pull the same way.
        taken: of the method `k_lora`, by block how many modules come from each ingredient.
        removed: of the method `project`, what it did to each block.
    """

    lora: LoraFile
    report: MergeReport
    used: tuple[tuple[str, dict[str, float]], ...]
    notes: tuple[tuple[str, str], ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    taken: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    removed: Mapping[str, Removal] = field(default_factory=dict)


def make(
    order: MergeSpec,
    presets: PresetFile,
    progress: Progress = QUIET,
    *,
    model: HasLayers | None = None,
    name: str = "unsaved",
) -> Made:
    """Read the files, do what the order says and return the new LoRA, not yet saved.

    Args:
        order: what is made.
        presets: of block weights.
        progress: is told what is being done, and may stop it.
        model: of the LoRAs' family: changes that depend on its weights and cannot stay what they are become full
            differences for it, and rules of ranks may look at it.
        name: of the new file, without ending, which is part of its size.

    Raises:
        InputError: the order cannot be right; FileError: a file cannot be read.
        StoppedError: somebody asked to stop.
    """
    parts, before = [], []
    for number, row in enumerate(order.ingredients):
        progress.passed(number, len(order.ingredients), say("reading"))
        part = summand(row, presets)
        before.append(part.lora)
        alone = len(order.ingredients) == 1 and order.rule is None and order.method.method == "sum"
        lora = known(widened(part.lora, order.precision), part.multipliers, model, alone=alone)
        parts.append(replace(part, lora=lora))
    progress.passed(len(parts), len(parts), say("reading"))
    conflict = overlaps(parts, progress) if len(parts) > 1 else ()
    noted = _order(order, parts, before, presets, model, name=name)
    dtype = None if order.precision is None else TYPES[order.precision]
    saved = SavedAs(name, dtype, more=provenance.with_room(noted))
    joined = join(parts, order.method, order.rule, progress, model=model, saved=saved)
    made, report = rounded(joined.lora, joined.report, order.precision, progress)
    made.metadata = provenance.noted(made.metadata, replace(noted, error=short(report.relative_error)))
    used = tuple((part.lora.name, {b: part.multipliers[b] for b in part.lora.blocks()}) for part in parts)
    sources = {row.path for row in order.ingredients}
    report = replace(
        report, bytes_before=sum(p.stat().st_size for p in sources), bytes_after=predicted_size(made, name=name)
    )
    notes = dict.fromkeys((part.lora.name, note) for part in parts for note in part.lora.notes)
    return Made(made, report, used, tuple(notes), conflict, joined.taken, joined.removed)


def _order(
    order: MergeSpec,
    parts: Sequence[Summand],
    before: Sequence[LoraFile],
    presets: PresetFile,
    model: HasLayers | None,
    *,
    name: str,
) -> provenance.Order:
    """Return what is noted of the order; the model only where its weights were asked for."""
    parents = [
        provenance.parent_of(row.path, lora.metadata, provenance.row_of(row, presets, lora.family))
        for row, lora in zip(order.ingredients, before, strict=True)
    ]
    asked = any(
        part.lora.outline[key].kind != lora.outline[key].kind
        for part, lora in zip(parts, before, strict=True)
        for key in part.lora.outline.keys() & lora.outline.keys()
    )
    asked = asked or (order.rule is not None and order.rule.kind == "base_ratio")
    path = getattr(model, "path", None) if asked else None
    return provenance.of_merge(order, parents, base=path.name if path else "", name=name)


def widened(lora: LoraFile, precision: Precision | None) -> LoraFile:
    """Return a LoRA in fp32 where its type is going to change, so that nothing is rounded twice."""
    if precision is None:
        return lora
    read = StoredAdapters(lora.outline, lora.adapters.__getitem__)
    return replace(lora, adapters=read.changed(lambda adapter: adapter.to(dtype=TYPES["fp32"])))


def rounded(
    lora: LoraFile, report: MergeReport, precision: Precision | None, progress: Progress = QUIET
) -> tuple[LoraFile, MergeReport]:
    """Return a merged LoRA in its new type, and its report with the error of that rounding in it."""
    if precision is None:
        return lora, report
    saved, second = convert(lora, precision, progress)
    return saved, then(report, second)


def summand(row: Ingredient, presets: PresetFile) -> Summand:
    """Read a row's file and return it with its multiples by block.

    Raises:
        InputError: the weights cannot be right; FileError: the file cannot be read.
    """
    lora = open_lora(row.path)
    weights = weights_of(row, presets, lora.family)
    te, unet = row.strength * row.te, row.strength * row.unet
    tag = ResolvedTag(lora.name, te=te, unet=unet, weights=weights, other=row.other)
    return Summand(lora, tag.multipliers(lora.family))

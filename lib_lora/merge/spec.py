"""An order for a new file: which LoRAs, how strongly by block, how small; and the numbers of what comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.blocks.layouts import attention_layout, blocked_families, full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_model import ParsedTag, ResolvedTag
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile, predicted_size, read_lora
from lib_lora.formats.names import proposed_stem
from lib_lora.live.targets import HasLayers
from lib_lora.merge.bake import bake
from lib_lora.merge.compress import compress
from lib_lora.merge.difference import known
from lib_lora.merge.precision import TYPES, Precision, convert
from lib_lora.merge.rank import RankRule
from lib_lora.merge.report import BlockRow, MergeReport
from lib_lora.merge.sum import Summand, add
from lib_lora.options import find, option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


@dataclass(frozen=True)
class Ingredient:
    """One row of an order: a LoRA file, and how strongly it counts; making one checks every number."""

    path: Path
    strength: float = option(1.0, "Strength", "Times everything.", low=-100, high=100)
    blocks: str = option(
        "ALL",
        "Blocks (preset or numbers)",
        "Block weights: a preset's name, or as many numbers as the family has blocks.",
        form="NAME|V,V,…",
    )
    te: float = option(1.0, "TE", "Times the text encoder's part.", low=-100, high=100)
    unet: float = option(1.0, "UNet", "Times the UNet's part.", low=-100, high=100)
    other: float | None = option(
        None,
        "",
        "Weight of layers outside all blocks; without it 1, or 0 where all blocks are 0.",
        low=-100,
        high=100,
    )
    x: float = option(1.0, "", "Value of X in the block weights.", low=-100, high=100)
    fill: float = option(0.0, "", "Weight of the blocks that a shorter vector does not name.", low=-100, high=100)

    def __post_init__(self) -> None:
        settle(self)


@dataclass(frozen=True)
class MergeSpec:
    """What a new file is made of: one LoRA is baked, several are added; then compressed and converted if asked."""

    ingredients: tuple[Ingredient, ...]
    rule: RankRule | None = None
    precision: Precision | None = option(
        None, "Precision", "Of the new file; without it as it was.", choices=tuple(TYPES)
    )

    def __post_init__(self) -> None:
        settle(self)
        if not self.ingredients:
            raise InputError("No LoRA is chosen", where=say("merge"), cure="Choose at least one LoRA.")


@dataclass(frozen=True)
class Made:
    """What an order gives.

    Attributes:
        lora: the new one, not yet saved.
        report: what was done by block, with the sizes of whole files.
        used: each ingredient's name and its multiples by block.
        notes: an ingredient's name and what was assumed or left out on reading it, once for each file.
    """

    lora: LoraFile
    report: MergeReport
    used: tuple[tuple[str, dict[str, float]], ...]
    notes: tuple[tuple[str, str], ...] = ()


def resolve_blocks(
    text: str, presets: PresetFile, family: str, *, x: float = 1.0, fill: float = 0.0
) -> BlockWeights | None:
    """Return the weights that a preset's name or a vector means for a family; None for an empty text.

    ALL is none as well for a family that has no block weights.

    Raises:
        InputError: an unknown name, a wrong vector, or a random mark: a file must not hold numbers that nobody chose.
    """
    text = text.strip()
    if not text or (text == "ALL" and family not in blocked_families()):
        return None
    vector = presets.vector(text, family)
    if any(token.kind in ("R", "U") for token in vector.tokens):
        raise InputError("Random weights cannot be written into a file", where=text, cure="Write numbers.")
    return fit(vector.weights(x=x), family, fill=fill)


def shown_weights(weights: BlockWeights, blocks: Sequence[str], family: str) -> BlockWeights:
    """Return the weights in the shortest layout that names every block that a file has: 12 or 17 for a plain LoRA."""
    short, full = attention_layout(family), full_layout(family)
    layout = short if all(block in short.names for block in blocks if block in full.names) else full
    return weights.convert(layout)[0]


def make(
    order: MergeSpec,
    presets: PresetFile,
    progress: Progress = QUIET,
    *,
    model: HasLayers | None = None,
) -> Made:
    """Read the files, do what the order says and return the new LoRA, not yet saved.

    With a ``model`` of the LoRAs' family, changes that depend on its weights and cannot stay what they are become full
    differences for it. ``progress`` is told what is being done, and may stop it.

    Raises:
        InputError: the order cannot be right; FileError: a file cannot be read.
        StoppedError: somebody asked to stop.
    """
    parts = []
    for number, row in enumerate(order.ingredients):
        progress.passed(number, len(order.ingredients), say("reading"))
        part = summand(row, presets)
        alone = len(order.ingredients) == 1 and order.rule is None
        lora = known(widened(part.lora, order.precision), part.multipliers, model, alone=alone)
        parts.append(replace(part, lora=lora))
    progress.passed(len(parts), len(parts), say("reading"))
    if order.rule is None:
        made, report = _joined(parts, progress)
    else:
        made, report = _compressed(parts, order.rule, progress)
    if order.precision is not None:
        made, report = rounded(made, report, order.precision, progress)
    used = tuple((part.lora.name, {b: part.multipliers[b] for b in part.lora.blocks()}) for part in parts)
    sources = {row.path for row in order.ingredients}
    report = replace(report, bytes_before=sum(p.stat().st_size for p in sources), bytes_after=predicted_size(made))
    notes = dict.fromkeys((part.lora.name, note) for part in parts for note in part.lora.notes)
    return Made(made, report, used, tuple(notes))


def widened(lora: LoraFile, precision: Precision | None) -> LoraFile:
    """Return a LoRA in fp32 where its type is going to change, so that nothing is rounded twice."""
    if precision is None:
        return lora
    adapters = {key: adapter.to(dtype=TYPES["fp32"]) for key, adapter in lora.adapters.items()}
    return replace(lora, adapters=adapters)


def rounded(
    lora: LoraFile, report: MergeReport, precision: Precision | None, progress: Progress = QUIET
) -> tuple[LoraFile, MergeReport]:
    """Return a merged LoRA in its new type, and its report with the error of that rounding in it."""
    if precision is None:
        return lora, report
    saved, second = convert(lora, precision, progress)
    return saved, _then(report, second)


def _weights_of(row: Ingredient, presets: PresetFile, family: str) -> BlockWeights | None:
    """Return a row's weights; one of its two values that changes nothing in them is a mistake."""
    weights = resolve_blocks(row.blocks, presets, family, x=row.x, fill=row.fill)
    for name in ("x", "fill"):
        value, usual = getattr(row, name), find(Ingredient, name).default
        if value != usual and weights == _weights_of(replace(row, **{name: usual}), presets, family):
            raise InputError(
                "{value} for {name} changes nothing in these block weights",
                value=value,
                name=name,
                where=row.blocks,
                cure="Leave it out; or write X where x is to stand, or fewer blocks than the model has, for fill.",
            )
    return weights


def summand(row: Ingredient, presets: PresetFile) -> Summand:
    """Read a row's file and return it with its multiples by block.

    Raises:
        InputError: the weights cannot be right; FileError: the file cannot be read.
    """
    lora = read_lora(row.path)
    weights = _weights_of(row, presets, lora.family)
    te, unet = row.strength * row.te, row.strength * row.unet
    tag = ResolvedTag(lora.name, te=te, unet=unet, weights=weights, other=row.other)
    return Summand(lora, tag.multipliers(lora.family))


def _joined(parts: Sequence[Summand], progress: Progress) -> tuple[LoraFile, MergeReport]:
    if len(parts) > 1:
        return add(parts, progress)
    return bake(parts[0].lora, parts[0].multipliers, progress)


def _compressed(parts: Sequence[Summand], rule: RankRule, progress: Progress) -> tuple[LoraFile, MergeReport]:
    """Return the sum, or the only LoRA, with fewer ranks; one that is to stay at 1 everywhere is not baked first."""
    if len(parts) == 1 and set(parts[0].multipliers.values()) == {1.0}:
        return compress(parts[0].lora, rule, progress)
    joined, first = _joined(parts, progress)
    made, second = compress(joined, rule, progress)
    return made, _then(first, second)


def _then(first: MergeReport, second: MergeReport) -> MergeReport:
    """Return the report of two steps in a row: their errors are independent, so their squares add up."""
    later = {row.block: row for row in second.rows}
    rows = tuple(_row(row, later.get(row.block)) for row in first.rows)
    return MergeReport(rows, first.bytes_before, second.bytes_after, first.dropped + second.dropped)


def _row(first: BlockRow, second: BlockRow | None) -> BlockRow:
    if second is None:  # all of its modules were dropped before
        return first
    return BlockRow(
        block=first.block,
        modules=second.modules,
        rank_before=first.rank_before,
        rank_after=second.rank_after,
        energy_kept=first.energy_kept * second.energy_kept,
        relative_error=math.hypot(first.relative_error, second.relative_error),
        size=first.size,
    )


def proposed_name(order: MergeSpec, *, taken: Sequence[str] = ()) -> str:
    """Return a name for the new file that tells what is in it: ``girl_v3_0.8_FACE``, ``girl_v3_0.8+dress_0.5_r16``."""
    names = []
    for row in order.ingredients:
        blocks = row.blocks.strip()
        blocks = "blocks" if "," in blocks else "" if blocks == "ALL" else blocks
        names.append("_".join(part for part in (row.path.stem, format_number(row.strength), blocks) if part))
    ends = [_rule_name(order.rule)] if order.rule else []
    return proposed_stem(["+".join(names), *ends, order.precision or ""], taken=taken)


def _rule_name(rule: RankRule) -> str:
    kind = {"rank": "r", "sv_ratio": "sv", "energy": "e", "cumulative": "c"}[rule.kind]
    return f"{kind}{format_number(rule.value)}"


def row_of_tag(tag: ParsedTag, path: Path, presets: PresetFile, family: str) -> tuple[Ingredient, tuple[str, ...]]:
    """Return a prompt's tag as a row, and what of the tag a file cannot hold: start, stop, lbwe, dyn, other.

    Raises:
        InputError: the tag's weights wait for the analyzer (XYZ), or cannot be right.
    """
    if tag.sweep:
        raise InputError(
            "{item} stands for the analyzer's weights", item=tag.sweep, where=tag.name, cure="Choose a preset."
        )
    blocks = tag.weights.text if tag.weights else find(Ingredient, "blocks").default
    if tag.weights and tag.x is not None:
        weights = resolve_blocks(blocks, presets, family, x=tag.x)
        blocks = weights.format() if weights is not None else blocks
    te, unet = tag.te, tag.unet
    strength = unet if unet else 1.0
    row = Ingredient(path, strength, blocks, te=te / strength, unet=1.0 if unet else 0.0)
    lost = {"start": tag.start, "stop": tag.stop, "lbwe": tag.elements, "dyn": tag.dyn, "other": tag.other}
    return row, tuple(name for name, value in lost.items() if value is not None)

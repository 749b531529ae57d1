"""An order for a new file: which LoRAs, how strongly by block, how small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.blocks.layouts import attention_layout, blocked_families, full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_model import ParsedTag
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError
from lib_lora.formats.names import proposed_stem
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.precision import TYPES, Precision
from lib_lora.merge.rank_rule import RankRule
from lib_lora.options import find, option, settle
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
    """What a new file is made of: one LoRA is baked, several are joined; then compressed and converted if asked."""

    ingredients: tuple[Ingredient, ...]
    rule: RankRule | None = None
    precision: Precision | None = option(
        None, "Save precision", "Of the new file; without it as it was.", choices=tuple(TYPES)
    )
    method: MethodOptions = MethodOptions()

    def __post_init__(self) -> None:
        settle(self)
        if not self.ingredients:
            raise InputError("No LoRA is chosen", where=say("merge"), cure="Choose at least one LoRA.")
        self.method.check(len(self.ingredients))


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


def weights_of(row: Ingredient, presets: PresetFile, family: str) -> BlockWeights | None:
    """Return a row's weights; one of its two values that changes nothing in them is a mistake."""
    weights = resolve_blocks(row.blocks, presets, family, x=row.x, fill=row.fill)
    for name in ("x", "fill"):
        value, usual = getattr(row, name), find(Ingredient, name).default
        if value != usual and weights == weights_of(replace(row, **{name: usual}), presets, family):
            raise InputError(
                "{value} for {name} changes nothing in these block weights",
                value=value,
                name=name,
                where=row.blocks,
                cure="Leave it out; or write X where x is to stand, or fewer blocks than the model has, for fill.",
            )
    return weights


def proposed_name(order: MergeSpec, *, taken: Sequence[str] = ()) -> str:
    """Return a name for the new file that tells what is in it: ``girl_v3_0.8_FACE``, ``girl_v3_0.8+dress_0.5_r16``."""
    names = []
    for row in order.ingredients:
        blocks = row.blocks.strip()
        blocks = "blocks" if "," in blocks else "" if blocks == "ALL" else blocks
        names.append("_".join(part for part in (row.path.stem, format_number(row.strength), blocks) if part))
    ends = [order.rule.name] if order.rule else []
    way = [] if order.method.method == "sum" else [order.method.method]
    return proposed_stem(["+".join(names), *way, *ends, order.precision or ""], taken=taken)


def row_of_tag(tag: ParsedTag, path: Path, presets: PresetFile, family: str) -> tuple[Ingredient, tuple[str, ...]]:
    """Return a prompt's tag as a row, and what of the tag a file cannot hold: start, stop, lbwe, dyn, weights over
    the steps, another strength in the hires pass.

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
    row = Ingredient(path, strength, blocks, te=te / strength, unet=1.0 if unet else 0.0, other=tag.other)
    lost: dict[str, object] = {"start": tag.start, "stop": tag.stop, "lbwe": tag.elements, "dyn": tag.dyn}
    lost |= {"weight@step": tag.frames, "hr": tag.hires}
    return row, tuple(name for name, value in lost.items() if value is not None)

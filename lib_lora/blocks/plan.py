"""A plan of variants: one block at a time a step lower or higher, to be looked at side by side.

It takes the place of a spreadsheet: base weights, blocks that are decided already (fixed), a step, and which way. Names
and texts are those of Zuntan's LoraBlockWeightPlotHelper, so that what was written for it can be followed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from lib_lora.architectures.registry import layouts
from lib_lora.blocks.layouts import Layout
from lib_lora.blocks.lr_weights import lr_weight_text
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

MODES = ("sub", "add", "subadd", "addsub")
"""Less, more, both with the lower first, both with the higher first."""
GROUPS = {"sub": ("Sub", -1.0), "add": ("Add", 1.0)}
"""What a group is called, in the names of its variants as well, and which way its step goes."""
LEAST_STEP = 0.0001
_DECIMALS = 4
"""Names and values of variants are rounded to these, so that 0.1 + 0.2 reads 0.3."""


@dataclass(frozen=True)
class Variant:
    """The base with one block changed; the base itself, under its group's name, where ``block`` is empty."""

    name: str
    weights: BlockWeights
    block: str = ""

    @property
    def line(self) -> str:
        """The variant as a preset file has it."""
        return f"{self.name}:{self.weights.format()}"


@dataclass(frozen=True)
class Picture:
    """One vector that is rendered, and every variant that has it: bases of two groups are one picture."""

    variants: tuple[Variant, ...]

    @property
    def weights(self) -> BlockWeights:
        """Its weights."""
        return self.variants[0].weights

    @property
    def name(self) -> str:
        """All its names."""
        return " = ".join(one.name for one in self.variants)

    @property
    def block(self) -> str:
        """The block that is changed; empty for the base."""
        return self.variants[0].block

    @property
    def value(self) -> float | None:
        """What the changed block has; None for the base."""
        return self.weights[self.block] if self.block else None


@dataclass(frozen=True)
class BlockPlan:
    """What is tried next.

    Attributes:
        base: the weights as they are now, in the layout in which the variants are written.
        fixed: blocks that stay; every other one of the layout has its variants.
        step: what is taken off or added.
        mode: one of `MODES`.

    Raises:
        InputError: a step or a mode that cannot be, or a fixed block that the layout lacks.
    """

    base: BlockWeights
    fixed: frozenset[str] = field(default_factory=frozenset)
    step: float = 0.5
    mode: str = "sub"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            cure = say("Choose one of: {names}.", names=MODES)
            raise InputError("“{value}” is unknown", value=str(self.mode)[:60], where="mode", cure=cure)
        if not math.isfinite(self.step) or self.step < LEAST_STEP:
            cure = say("Give a number from {low} on; the mode says which way.", low=format_number(LEAST_STEP))
            raise InputError("{value} is no step", value=self.step, where="step", cure=cure)

    @property
    def layout(self) -> Layout:
        """The layout of all its vectors."""
        return self.base.layout

    @property
    def free(self) -> tuple[str, ...]:
        """The blocks that have variants, in the layout's order."""
        return tuple(name for name in self.layout.names if name not in self.fixed)

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Each group's base, then its variants."""
        groups = {"sub": ("sub",), "add": ("add",), "subadd": ("sub", "add"), "addsub": ("add", "sub")}[self.mode]
        return tuple(one for group in groups for one in self._group(*GROUPS[group]))

    def _group(self, title: str, sign: float) -> list[Variant]:
        found = [Variant(title, self.base)]
        for block in self.free:
            value = round(self.base[block] + sign * self.step, _DECIMALS)
            weights = self.base.replaced({block: value})
            found.append(Variant(f"{title}{block}_{format_number(value)}", weights, block))
        return found

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """What has to be rendered: each vector once, in the order of the variants."""
        found: dict[tuple[float, ...], list[Variant]] = {}
        for one in self.variants:
            found.setdefault(one.weights.values, []).append(one)
        return tuple(Picture(tuple(same)) for same in found.values())

    @property
    def presets(self) -> tuple[str, ...]:
        """The variants as lines of a preset file."""
        return tuple(one.line for one in self.variants)

    @property
    def prompt_sr(self) -> str:
        """The values of the X/Y/Z plot's Prompt S/R for a tag that names the first of them.

        Prompt S/R replaces the first text wherever it stands, in “Subject” as well; `prompt_sr_safe` does not.
        """
        return ", ".join(one.name for one in self.variants)

    @property
    def prompt_sr_safe(self) -> str:
        """The same for a tag such as ``<lora:NAME:1:lbw=Sub>``, where nothing else of a prompt is hit."""
        return ", ".join(f"lbw={one.name}" for one in self.variants)

    @property
    def eba_blocks(self) -> str:
        """The free blocks as the Effective Block Analyzer takes them."""
        return ",".join(self.free)

    @property
    def lr_weight(self) -> str:
        """The base as sd-scripts' learning rates by block; empty for a family that it has none for."""
        return lr_weight_text(self.base)

    @property
    def notes(self) -> tuple[Sentence, ...]:
        """What may surprise: nothing is cut off at 0 or 1."""

        def names(wrong: Callable[[float], bool]) -> list[str]:
            changed = [one for one in self.variants if one.block]
            return [one.name for one in changed if wrong(one.weights[one.block])]

        below, above = names(lambda value: value < 0), names(lambda value: value > 1)
        found = [say("Below 0, where the LoRA acts the other way round: {names}.", names=below)] if below else []
        found += [say("Above 1, stronger than it was trained: {names}.", names=above)] if above else []
        return (*found, *([] if self.free else [say("Every block is fixed: there is nothing to try.")]))


def in_layouts(weights: BlockWeights) -> tuple[dict[int, str], dict[int, tuple[str, ...]]]:
    """Return a vector in each layout of its family, by length, and what the shorter ones have no place for.

    Blocks that the vector does not name get 0; only blocks with another weight are lost.
    """
    texts: dict[int, str] = {}
    lost: dict[int, tuple[str, ...]] = {}
    for layout in layouts():
        if layout.family == weights.layout.family:
            converted, missing = weights.convert(layout)
            texts[layout.length] = converted.format()
            if missing:
                lost[layout.length] = missing
    return texts, lost

"""Block weights by name: a vector that carries its layout, and its conversion to other layouts."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lib_lora.blocks.layouts import (
    Layout,
    allowed_counts,
    attention_layout,
    block_in,
    full_layout,
    lengths_of,
    text_blocks,
    title_of,
    unet_families,
)
from lib_lora.blocks.tokens import Token, format_number, parse_tokens
from lib_lora.errors import InputError
from lib_lora.sentences import say


def finite(value: Any, name: str) -> float:
    """Return a weight as a number.

    Raises:
        InputError: it is none, or not finite; ``name`` says whose it is.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        what = say("The weight of {blocks} is not a finite number", blocks=name)
        raise InputError(what, where=str(value)[:60], cure="Write a number like 0.5.")
    return number


@dataclass(frozen=True)
class BlockWeights:
    """One finite number for every block of a layout.

    Raises:
        InputError: the count is not the layout's, or a number is not finite.
    """

    layout: Layout
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.values) != self.layout.length:
            raise InputError(
                "Wrong number of block weights: got {n}, the layout has {layout}",
                n=len(self.values),
                layout=self.layout.length,
                cure="Allowed lengths are {counts}.",
                counts=allowed_counts(),
            )
        for name, value in zip(self.layout.names, self.values, strict=True):
            finite(value, name)

    @classmethod
    def parse(
        cls, text: str, family: str | None = None, *, x: float = 1.0, rng: random.Random | None = None
    ) -> BlockWeights:
        """Read a comma-separated vector; X stands for `x`, R and U draw from `rng` in the order of writing.

        Raises:
            PositionError: wrong count or a bad item, pointing at it.
            InputError: R or U without `rng`, or a count of several families without `family`.
        """
        layout, tokens = parse_tokens(text, family)
        return cls.from_tokens(layout, tokens, x=x, rng=rng)

    @classmethod
    def from_tokens(
        cls, layout: Layout, tokens: tuple[Token, ...], *, x: float = 1.0, rng: random.Random | None = None
    ) -> BlockWeights:
        """Turn tokens that were read before into numbers."""
        return cls(layout, tuple(token.value(x=x, rng=rng) for token in tokens))

    @classmethod
    def uniform(cls, layout: Layout, value: float) -> BlockWeights:
        """Give every block of a layout the same weight."""
        return cls(layout, (float(value),) * layout.length)

    def format(self) -> str:
        """Return the comma-separated text that `parse` reads back as the same numbers."""
        return ",".join(format_number(value) for value in self.values)

    def as_dict(self) -> dict[str, float]:
        """Return block name -> weight, in the layout's order."""
        return dict(zip(self.layout.names, self.values, strict=True))

    def __getitem__(self, name: str) -> float:
        return self.values[self.layout.names.index(block_in(self.layout, name))]

    def replaced(self, changes: Mapping[str, float]) -> BlockWeights:
        """Return a copy with some blocks changed, by name."""
        table = self.as_dict()
        named = ((block_in(self.layout, name), value) for name, value in changes.items())
        table.update((name, finite(value, name)) for name, value in named)
        return replace(self, values=tuple(table.values()))

    def complement(self) -> BlockWeights:
        """Return 1 minus every weight: what ZYX means beside XYZ."""
        return replace(self, values=tuple(round(1.0 - value, 6) for value in self.values))

    @property
    def all_zero(self) -> bool:
        """Tell whether every weight is 0."""
        return not any(self.values)

    def convert(self, layout: Layout, *, fill: float = 0.0) -> tuple[BlockWeights, tuple[str, ...]]:
        """Carry the weights over to another layout by block name.

        Blocks that only the target has get `fill`.

        Returns:
            The converted weights, and the names of the blocks that the target lacks and whose weight was not `fill`.
        """
        have = self.as_dict()
        converted = BlockWeights(layout, tuple(have.get(name, float(fill)) for name in layout.names))
        lost = tuple(name for name, value in have.items() if name not in layout.names and value != fill)
        return converted, lost


def unnamed_blocks(layout: Layout, family: str) -> tuple[str, ...]:
    """Return the blocks of a model family that a vector of this layout says nothing about.

    A text encoder that the family's own shorter layout has no place for is not among them: it stays as it is.
    """
    full = full_layout(family)
    kept = text_blocks() if layout.family == full.family else ()
    return tuple(name for name in full.names if name not in layout.names and name not in kept)


def fit(weights: BlockWeights, family: str, *, fill: float = 0.0) -> BlockWeights:
    """Return the weights in the full layout of a model family.

    A vector of the same family always fits; blocks without attention that it does not name get `fill`, and a text
    encoder that its layout has no place for keeps 1. A vector of another UNet fits only if no weight is dropped and
    every block with attention is named; that of another transformer never does.

    Raises:
        InputError: something would be lost; the message names the blocks.
    """
    target = full_layout(family)
    converted, lost = weights.convert(target, fill=fill)
    if target.family == weights.layout.family:
        silent = text_blocks().intersection(target.names).difference(weights.layout.names)
        return converted.replaced(dict.fromkeys(silent, 1.0))
    attention = attention_layout(family).names
    unnamed = tuple(name for name in unnamed_blocks(weights.layout, family) if name in attention)
    kin = {target.family, weights.layout.family} <= set(unet_families())  # elsewhere equal names are other layers
    if not lost and not unnamed and kin:
        return converted
    reasons = []
    if lost:
        reasons.append(say("the model has no {blocks}", blocks=lost))
    if unnamed:
        reasons.append(say("the vector says nothing about {blocks}", blocks=unnamed))
    if not reasons:
        reasons.append(say("the vector was written for {family}", family=title_of(weights.layout.family)))
    raise InputError(
        "{n} block weights do not fit a model of family {family}: {reasons:; }",
        n=weights.layout.length,
        family=family,
        reasons=reasons,
        cure="Use a vector of {counts: or } values, or a preset of that length.",
        counts=lengths_of(family),
    )

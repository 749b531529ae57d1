"""The values of a written vector: numbers, random R and U, and the placeholder X with an offset."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from lib_lora.architectures.registry import layouts_of_length
from lib_lora.blocks.errors import PositionError, shorten
from lib_lora.blocks.layouts import Layout, allowed_counts, layout_of
from lib_lora.blocks.typed import half_width
from lib_lora.errors import InputError
from lib_lora.sentences import say

_UNSIGNED = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(rf"[+-]?{_UNSIGNED}")
_OFFSET = re.compile(rf"[xX](?:([+-])\s*({_UNSIGNED}))?")
_RANDOM: Mapping[str, tuple[float, float]] = MappingProxyType({"R": (0.0, 1.0), "U": (-0.5, 1.5)})


@dataclass(frozen=True)
class Token:
    """One written value; `number` is the number itself, or the offset of an X."""

    kind: Literal["number", "R", "U", "X"]
    number: float = 0.0

    @property
    def text(self) -> str:
        """The value as it is written."""
        if self.kind == "number":
            return format_number(self.number)
        if self.kind == "X" and self.number:
            return f"X{'+' if self.number > 0 else '-'}{format_number(abs(self.number))}"
        return self.kind

    def value(self, *, x: float, rng: random.Random | None) -> float:
        """Return the number that this token stands for: R is uniform in 0..1, U in -0.5..1.5, both to 3 decimals.

        Raises:
            InputError: R or U without a source of random numbers, or X plus its offset is not finite.
        """
        if self.kind == "number":
            return self.number
        if self.kind == "X":
            # six decimals: 0.7+0.2 is to read 0.9 wherever the vector is written down
            value = round(x + self.number, 6)
            if not math.isfinite(value):
                raise InputError("X with its offset is not a finite number", cure="Use a smaller x= or offset.")
            return value
        if rng is None:
            raise InputError(
                "{kind} is a random value and no seed was given", kind=self.kind, cure="Write a number, or seed it."
            )
        low, high = _RANDOM[self.kind]
        return round(low + (high - low) * rng.random(), 3)


def read_number(text: str) -> float | None:
    """Return the number that a text writes (may be infinite when it is too large), or None when it writes none."""
    return float(text) if _NUMBER.fullmatch(text) else None


def format_number(value: float) -> str:
    """Return the shortest text that reads back as exactly this finite number, whole numbers without a point."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def parse_tokens(text: str, family: str | None = None) -> tuple[Layout, tuple[Token, ...]]:
    """Read a comma-separated vector; its count decides the layout, and ``family`` where several have this count.

    Raises:
        PositionError: a count that no layout has, or an item that is empty, not a value or not finite.
        InputError: a count that only several other families have.
    """
    tokens = read_tokens(text)
    return layout_of(len(tokens), family), tokens


def read_tokens(text: str) -> tuple[Token, ...]:
    """Read a comma-separated vector of any family, in full-width signs too.

    Raises:
        PositionError: a count that no layout has, or an item that is empty, not a value or not finite.
    """
    text = half_width(text)
    items: list[tuple[int, str]] = []
    position = 0
    for part in text.split(","):
        items.append((position + len(part) - len(part.lstrip()), part.strip()))
        position += len(part) + 1
    if not layouts_of_length(len(items)):
        empty = [at for at, item in items if not item]
        what = say("Wrong number of block weights: got {n}, allowed {counts}", n=len(items), counts=allowed_counts())
        if empty:
            what = say(
                "Wrong number of block weights: got {n} ({empty} of them empty), allowed {counts}",
                n=len(items),
                empty=len(empty),
                counts=allowed_counts(),
            )
        cure = say("Give one value for every block, separated by commas.")
        raise PositionError(what, text=text, position=empty[0] if empty else items[0][0], cure=cure)
    return tuple(_token(item, text, position=at, ordinal=i) for i, (at, item) in enumerate(items, start=1))


def _token(item: str, text: str, *, position: int, ordinal: int) -> Token:
    kinds = say("Allowed are numbers, R, U, X, X+0.2 and X-0.2.")
    if not item:
        raise PositionError("Value {n} is empty", n=ordinal, text=text, position=position, cure=kinds)
    number = read_number(item)
    if number is not None:
        if not math.isfinite(number):
            raise PositionError(
                "Value {n} is too large", n=ordinal, text=text, position=position, cure="Write a finite number."
            )
        return Token("number", number)
    if item.upper() == "R":
        return Token("R")
    if item.upper() == "U":
        return Token("U")
    offset = _OFFSET.fullmatch(item)
    if offset:
        number = float(f"{offset[1]}{offset[2]}") if offset[1] else 0.0
        if math.isfinite(number):
            return Token("X", number)
    raise PositionError(
        say("Value {n}, “{text}”, is no block weight", n=ordinal, text=shorten(item)),
        text=text,
        position=position,
        cure=kinds,
    )

"""Errors that point at a character or at a line, and the near-match hint that they share."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from lib_lora.blocks.near import near_names
from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

_SHOWN = 60  # characters of a wrong name that a message repeats


class PositionError(InputError):
    """A text from the user is wrong at one character.

    Args:
        what: what is wrong.
        text: the whole text that was read.
        position: index of the offending character in `text`; `len(text)` when something is missing at the end.
        cure: what to write instead.
    """

    noun: ClassVar[str] = say("text")

    def __init__(self, what: str, *, text: str, position: int, cure: str = "", **values: Any) -> None:
        where = say("{noun}, character {n}", noun=self.noun, n=position + 1)
        super().__init__(what, where=where, cure=cure, **values)
        self.text, self.position = text, position

    def caret(self) -> str:
        """Return the text and, under it, a caret at the offending character (wide characters count two cells)."""
        shown = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in self.text)
        cells = sum(_cells(c) for c in shown[: self.position])
        return f"{shown}\n{' ' * cells}^"

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.caret()}"


class TagError(PositionError):
    """A LoRA tag of the prompt cannot be used; `position` is an index into the tag's own text."""

    noun = say("LoRA tag")


@dataclass(frozen=True)
class LineProblem:
    """One remark about one line of a preset file; `fatal` means that the line cannot be used and must not be saved."""

    line: int
    what: Sentence
    cure: Sentence | str = ""
    fatal: bool = True

    @property
    def sentence(self) -> Sentence:
        """The remark as running text, with its line."""
        if not self.cure:
            return say("line {n}: {what}.", n=self.line, what=self.what)
        return say("line {n}: {what}. {cure}", n=self.line, what=self.what, cure=self.cure)

    def __str__(self) -> str:
        return str(self.sentence)


def shorten(name: str) -> str:
    """Return a wrong name in a length that fits a message."""
    return name if len(name) <= _SHOWN else name[:_SHOWN] + "…"


def suggest(name: str, known: Iterable[str]) -> Sentence | None:
    """Return 'Did you mean A, B?' for known names near `name` (case does not count), or None where none is near."""
    near = near_names(name, known, cutoff=0.6)
    return say("Did you mean {names}?", names=near) if near else None


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1

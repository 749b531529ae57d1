"""The WebUI's emphasis: ``(words)`` ×1.1, ``(words:1.3)`` ×1.3, ``[words]`` ÷1.1, ``BREAK``, and escaped brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib_lora.blocks.errors import PositionError

_SIGNS = re.compile(
    r"""
      \\(?P<escaped>[()\[\]\\]?)                # what is escaped; a backslash before anything else is nothing
    | :\s*(?P<weight>[+-]?[.\d]+)\s*\)          # how (words:1.3) ends
    | (?P<bracket>[()\[\]])
    | [^\\()\[\]:]+ | :
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_BREAK_MARK = ("BREAK", -1.0)
_ROUND, _SQUARE = 1.1, 1 / 1.1


class PromptError(PositionError):
    """A prompt cannot be understood at one character."""

    noun = "prompt"


@dataclass(frozen=True)
class Piece:
    """Words that share a weight; or the mark at which a new chunk of tokens begins."""

    text: str
    weight: float = 1.0

    @property
    def breaks(self) -> bool:
        """Whether this is the mark of a ``BREAK`` (inside brackets the WebUI takes BREAK for a word, and so do we)."""
        return (self.text, self.weight) == _BREAK_MARK


def read_emphasis(text: str) -> list[Piece]:
    """Return the pieces of a prompt without LoRA tags, neighbors of one weight together; never an empty list.

    Brackets may be left open: they act to the end. A closing one without its partner is a word.

    Raises:
        PromptError: a weight like ``1.2.3``.
    """
    pieces: list[list] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        for piece in pieces[opened[bracket].pop() :]:
            piece[1] *= factor

    for sign in _SIGNS.finditer(text):
        bracket, weight = sign["bracket"], sign["weight"]
        if sign["escaped"] is not None:
            pieces.append([sign["escaped"], 1.0])
        elif bracket in opened:
            opened[bracket].append(len(pieces))
        elif weight is not None and opened["("]:
            close("(", _weight(sign, text))
        elif bracket == ")" and opened["("]:
            close("(", _ROUND)
        elif bracket == "]" and opened["["]:
            close("[", _SQUARE)
        else:
            pieces += _words(sign.group())
    while opened["("]:
        close("(", _ROUND)
    while opened["["]:
        close("[", _SQUARE)
    return _joined(pieces)


def read_emphasis_or_none(text: str) -> list[Piece]:
    """Return the pieces of a prompt without the marks of BREAK; none where a weight is no number."""
    try:
        return [piece for piece in read_emphasis(text) if not piece.breaks]
    except PromptError:  # said as an error when the prompt is encoded
        return []


def _words(text: str) -> list[list]:
    """Return words as pieces, with a mark for each BREAK between them."""
    first, *others = _BREAK.split(text)
    found: list[list] = [[first, 1.0]]
    for words in others:
        found += [list(_BREAK_MARK), [words, 1.0]]
    return found


def _weight(sign: re.Match[str], text: str) -> float:
    try:
        return float(sign["weight"])
    except ValueError as error:
        raise PromptError(
            "The weight {weight} is no number",
            weight=sign["weight"],
            text=text,
            position=sign.start("weight"),
            cure="Write one like (words:1.2).",
        ) from error


def _joined(pieces: list[list]) -> list[Piece]:
    joined: list[list] = []
    for text, weight in pieces or [["", 1.0]]:
        if joined and joined[-1][1] == weight:
            joined[-1][0] += text
        else:
            joined.append([text, weight])
    return [Piece(text, weight) for text, weight in joined]

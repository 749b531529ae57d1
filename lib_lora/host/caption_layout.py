"""How a caption's words become the tokens of a text encoder: with or without weights, and how many of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lib_lora.host.clip_chunks import BACKTRACK, CHUNK, Weighted, weighted_ids, wrapped
from lib_lora.host.prompt.emphasis import Piece, read_emphasis

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Texts to their token ids, without start and end."""


@dataclass(frozen=True)
class CaptionLayout:
    """How captions are read.

    Attributes:
        weighted: ``(words:1.2)`` and its kin weigh words, as in a prompt, and ``BREAK`` begins a new chunk; else every
            character is a character.
        longest: tokens of a caption that are read at most, a multiple of 75; 0 reads all of them.
    """

    weighted: bool = False
    longest: int = 0


AS_WRITTEN = CaptionLayout()
"""Word for word, and as long as it is."""


@dataclass(frozen=True)
class CaptionTokens:
    """Captions as tokens in chunks of at most 75, laid out as the WebUI does: a chunk ends behind a near comma.

    Attributes:
        rows: chunks of (token, weight) of each caption, uncut.
        layout: how they are read.
    """

    rows: tuple[list[list[Weighted]], ...]
    layout: CaptionLayout

    @property
    def places(self) -> list[int]:
        """How many places each caption needs, those left empty behind a comma included; to compare with `longest`."""
        return [CHUNK * (len(chunks) - 1) + len(chunks[-1]) for chunks in self.rows]

    def ids(self, *, start: int, end: int) -> tuple[Tensor, Tensor | None]:
        """Return ids ``(captions, chunks, 77)``, cut at `longest`, and weights of that shape; None where all are 1."""
        kept = self.layout.longest // CHUNK or None
        ids, weights = weighted_ids([chunks[:kept] for chunks in self.rows], start=start, end=end)
        return ids, weights if self.layout.weighted and bool((weights != 1).any()) else None

    def listed(self, *, start: int, end: int) -> list[Any]:
        """Return ids and weights as lists."""
        ids, weights = self.ids(start=start, end=end)
        return [ids.tolist(), None if weights is None else weights.tolist()]


def laid_out(
    captions: Sequence[str], tokenize: Tokenize, layout: CaptionLayout, *, backtrack: int = BACKTRACK
) -> CaptionTokens:
    """Return the tokens of captions; a comma is looked for among the last ``backtrack`` tokens of a full chunk.

    Raises:
        PromptError: a weight is no number.
    """
    comma = tokenize([","])[0]
    rows = []
    for text in captions:
        pieces = read_emphasis(text) if layout.weighted else [Piece(text)]
        words = iter(tokenize([piece.text for piece in pieces if not piece.breaks]))
        tokens = [None if piece.breaks else (next(words), piece.weight) for piece in pieces]
        rows.append(wrapped(tokens, comma=comma[0] if len(comma) == 1 else None, backtrack=backtrack))
    return CaptionTokens(tuple(rows), layout)


def weighed(hidden: Tensor, weights: Tensor | None) -> Tensor:
    """Return hidden states ``(chunks·captions, 77, width)`` times the weights ``(captions, chunks, 77)`` of the tokens.

    As sd-scripts' ``--weighted_captions``: the mean is not brought back to what it was, unlike in a WebUI's prompt.
    """
    if weights is None:
        return hidden
    return hidden * weights.transpose(0, 1).reshape(*hidden.shape[:2], 1).to(hidden)

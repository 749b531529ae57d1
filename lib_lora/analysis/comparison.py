"""One picture of many: a cell for each run, values at the edges, and the facts below each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from PIL import Image, ImageDraw

from lib_lora.analysis.grid import HOT, INK, PAPER, SOFT, font, wrapped

GAP = 8
LETTERS = 15
NARROWEST, WIDEST = 224, 320
"""Pixels of a cell: room for the facts at least, and so wide that six stand side by side on a page."""
FRAME, EMPTY = (226, 228, 233), (244, 245, 247)


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        picture: what its LoRA draws; None where there is none.
        lines: what is written below it.
        head: what stands above it, where no column does.
        warning: what went wrong; below the lines.
    """

    picture: Image.Image | None = None
    lines: tuple[str, ...] = ()
    head: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Comparison:
    """What is drawn.

    Attributes:
        title, text: what stands above all of it: in large letters, in small ones.
        cells: lines of cells.
        columns: what stands above each column; empty where each cell has its own head.
        rows: what stands beside each line; empty where nothing does.
    """

    title: str
    text: str
    cells: Sequence[Sequence[Cell]]
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()


def draw_comparison(shown: Comparison) -> Image.Image:
    """Return the grid as a picture; cells are as wide as their pictures, within bounds."""
    pictures = [cell.picture for line in shown.cells for cell in line if cell.picture is not None]
    width = max(NARROWEST, min(WIDEST, max((one.width for one in pictures), default=NARROWEST)))
    height = max((ceil(one.height * width / one.width) for one in pictures), default=width)
    left = GAP + (min(width, _longest(shown.rows)) + GAP if shown.rows else 0)
    across = max(len(line) for line in shown.cells)
    whole = left + across * (width + GAP)
    lines = [[_drawn(cell, width, height) for cell in line] for line in shown.cells]
    heading = _words([(shown.title, INK, LETTERS + 4), (shown.text, SOFT, LETTERS - 1)], whole - 2 * GAP)
    columns = [_words([(text, INK, LETTERS)], width) for text in shown.columns]
    top = heading.height + 3 * GAP
    under = top + (max(one.height for one in columns) + GAP if columns else 0)
    tall = under + sum(max(cell.height for cell in line) + 2 * GAP for line in lines)
    picture = Image.new("RGB", (whole, tall), PAPER)
    picture.paste(heading, (GAP, GAP))
    for number, column in enumerate(columns):
        picture.paste(column, (left + number * (width + GAP), top))
    for number, line in enumerate(lines):
        if shown.rows:
            picture.paste(_words([(shown.rows[number], INK, LETTERS)], left - 2 * GAP), (GAP, under))
        for place, cell in enumerate(line):
            picture.paste(cell, (left + place * (width + GAP), under))
        under += max(cell.height for cell in line) + 2 * GAP
    return picture


def _longest(texts: Sequence[str]) -> int:
    """Return the width of the widest of some labels in pixels."""
    return max(ceil(font(LETTERS, text).getlength(text)) for text in texts)


def _drawn(cell: Cell, width: int, height: int) -> Image.Image:
    """Return a cell: its head, its picture, its lines."""
    head = _words([(cell.head, INK, LETTERS)], width) if cell.head else None
    facts = _words([*((line, SOFT, LETTERS - 2) for line in cell.lines), (cell.warning, HOT, LETTERS - 2)], width)
    top = head.height + 2 if head else 0
    drawn = Image.new("RGB", (width, top + height + 4 + facts.height), PAPER)
    if head is not None:
        drawn.paste(head, (0, 0))
    if cell.picture is not None:
        tall = ceil(cell.picture.height * width / cell.picture.width)
        drawn.paste(cell.picture.convert("RGB").resize((width, tall), Image.Resampling.LANCZOS), (0, top))
    else:
        box = (0, top, width - 1, top + height - 1)
        ImageDraw.Draw(drawn).rectangle(box, outline=FRAME, fill=EMPTY)
    drawn.paste(facts, (0, top + height + 4))
    return drawn


def _words(texts: Sequence[tuple[str, tuple[int, int, int], int]], width: int) -> Image.Image:
    """Return texts below one another, each wrapped to the width: (text, color, height of its letters)."""
    rows = []
    for text, ink, size in texts:
        letters = font(size, text)
        rows += [(line, ink, letters, size) for line in wrapped(text, letters, width)]
    drawn = Image.new("RGB", (width, max(1, sum(size + 4 for *_, size in rows))), PAPER)
    pen, top = ImageDraw.Draw(drawn), 0
    for line, ink, letters, size in rows:
        pen.text((0, top), line, fill=ink, font=letters)
        top += size + 4
    return drawn

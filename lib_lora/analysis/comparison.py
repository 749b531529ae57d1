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
GOOD = (22, 110, 64)


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        picture: what its LoRA draws; None where there is none.
        lines: what is written below it.
        head: what stands above it, where no column does.
        warning: what went wrong; below the lines.
        mark: why this cell is framed, in a word; "" where it is not.
    """

    picture: Image.Image | None = None
    lines: tuple[str, ...] = ()
    head: str = ""
    warning: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Comparison:
    """What is drawn.

    Attributes:
        title, text: what stands above all of it: in large letters, in small ones.
        verdict: below them, what the marked cell is, or why there is none.
        cells: lines of cells; None leaves a place empty.
        columns: what stands above each column; empty where each cell has its own head.
        rows: what stands beside each line; empty where nothing does.
    """

    title: str
    text: str
    verdict: str
    cells: Sequence[Sequence[Cell | None]]
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()


def draw_comparison(shown: Comparison) -> Image.Image:
    """Return the grid as a picture; cells are as wide as their pictures, within bounds."""
    cells = [cell for line in shown.cells for cell in line if cell is not None]
    pictures = [cell.picture for cell in cells if cell.picture is not None]
    width = max(NARROWEST, min(WIDEST, max((one.width for one in pictures), default=NARROWEST)))
    height = max((ceil(one.height * width / one.width) for one in pictures), default=width)
    pen = _Pen(shown, cells)
    left = GAP + (min(width, pen.longest(shown.rows)) + GAP if shown.rows else 0)
    across = max(len(line) for line in shown.cells)
    whole = left + across * (width + GAP)
    lines = [[cell and _drawn(cell, width, height, pen) for cell in line] for line in shown.cells]
    found = GOOD if any(cell.mark for cell in cells) else INK
    heads = [(shown.title, INK, LETTERS + 4), (shown.text, SOFT, LETTERS - 1), (shown.verdict, found, LETTERS)]
    heading = pen.words(heads, whole - 2 * GAP)
    columns = [pen.words([(text, INK, LETTERS)], width) for text in shown.columns]
    top = heading.height + 3 * GAP
    under = top + (max(one.height for one in columns) + GAP if columns else 0)
    heights = [max(cell.height for cell in line if cell) + 2 * GAP for line in lines]
    picture = Image.new("RGB", (whole, under + sum(heights)), PAPER)
    picture.paste(heading, (GAP, GAP))
    for number, column in enumerate(columns):
        picture.paste(column, (left + number * (width + GAP), top))
    for number, line in enumerate(lines):
        if shown.rows:
            picture.paste(pen.words([(shown.rows[number], INK, LETTERS)], left - 2 * GAP), (GAP, under))
        for place, cell in enumerate(line):
            if cell is not None:
                picture.paste(cell, (left + place * (width + GAP), under))
        under += heights[number]
    return picture


def _drawn(cell: Cell, width: int, height: int, pen: _Pen) -> Image.Image:
    """Return a cell: its head, its picture, its mark and its lines."""
    head = pen.words([(cell.head, INK, LETTERS)], width) if cell.head else None
    texts = [(cell.mark, GOOD, LETTERS), *((line, SOFT, LETTERS - 2) for line in cell.lines)]
    facts = pen.words([*texts, (cell.warning, HOT, LETTERS - 2)], width)
    top = head.height + 2 if head else 0
    drawn = Image.new("RGB", (width, top + height + 4 + facts.height), PAPER)
    if head is not None:
        drawn.paste(head, (0, 0))
    box = (0, top, width - 1, top + height - 1)
    if cell.picture is not None:
        tall = ceil(cell.picture.height * width / cell.picture.width)
        drawn.paste(cell.picture.convert("RGB").resize((width, tall), Image.Resampling.LANCZOS), (0, top))
    else:
        ImageDraw.Draw(drawn).rectangle(box, outline=FRAME, fill=EMPTY)
    if cell.mark:
        ImageDraw.Draw(drawn).rectangle(box, outline=GOOD, width=4)
    drawn.paste(facts, (0, top + height + 4))
    return drawn


class _Pen:
    """Writes with one font for the whole picture: one with Japanese letters where any text of it has such."""

    def __init__(self, shown: Comparison, cells: Sequence[Cell]) -> None:
        own = [text for cell in cells for text in (cell.head, cell.warning, cell.mark, *cell.lines)]
        self._all = " ".join([shown.title, shown.text, shown.verdict, *shown.columns, *shown.rows, *own])

    def longest(self, texts: Sequence[str]) -> int:
        """Return the width of the widest of some labels in pixels."""
        return max(ceil(font(LETTERS, self._all).getlength(text)) for text in texts)

    def words(self, texts: Sequence[tuple[str, tuple[int, int, int], int]], width: int) -> Image.Image:
        """Return texts below one another, each wrapped to the width: (text, color, height of its letters)."""
        rows, top = [], 0
        for text, ink, size in texts:
            letters = font(size, self._all)
            step = max(size + 4, ceil(letters.getbbox("_gj")[3]) + 2)
            for line in wrapped(text, letters, width):
                rows.append((top, line, ink, letters))
                top += step
        drawn = Image.new("RGB", (width, max(1, top)), PAPER)
        pen = ImageDraw.Draw(drawn)
        for place, line, ink, letters in rows:
            pen.text((0, place), line, fill=ink, font=letters)
        return drawn

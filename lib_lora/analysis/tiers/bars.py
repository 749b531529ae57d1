"""A tier as a picture: one bar a block, with its spread as an error bar."""

from __future__ import annotations

import math
from math import ceil

from PIL import Image, ImageDraw

from lib_lora.analysis.grid import HOT, INK, PAPER, SOFT, font, wrapped
from lib_lora.analysis.tiers.result import BlockResult

BAR, GAP, HEIGHT, LETTERS = 26, 12, 220, 13
_FILL, _WEAK, _RULE = (11, 143, 136), (195, 202, 213), (226, 228, 233)


def draw_bars(result: BlockResult, *, title: str) -> Image.Image:
    """Return the first column of a result as bars; those that do not rise above the noise floor are gray."""
    column, rows = result.main, [row for row in result.rows if result.main.key in row.values]
    known = [(row.block, row.values[column.key]) for row in rows if not math.isnan(row.values[column.key].mean)]
    top = max([one.mean + (one.spread or 0.0) for _, one in known] + [result.floor or 0.0, 1e-12])
    letters, head = font(LETTERS), font(LETTERS + 3, title + str(column.title))
    left = GAP + ceil(letters.getlength(_short(top))) + GAP
    under = GAP + max((ceil(letters.getlength(name)) for name, _ in known), default=0)
    width = max(480, left + len(known) * (BAR + GAP) + GAP)
    lines = wrapped(f"{title} · {column.title}" + (f", {column.unit}" if column.unit else ""), head, width - 2 * GAP)
    above = GAP + len(lines) * (LETTERS + 8) + GAP
    picture = Image.new("RGB", (width, above + HEIGHT + under), PAPER)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((GAP, GAP + number * (LETTERS + 8)), line, fill=INK, font=head)

    def height(value: float) -> int:
        return above + round(HEIGHT * (1 - min(max(value, 0.0), top) / top))

    for part in (0.0, 0.5, 1.0):
        pen.line((left, height(part * top), width - GAP, height(part * top)), fill=_RULE)
        pen.text((GAP, height(part * top) - LETTERS // 2), _short(part * top), fill=SOFT, font=letters)
    for number, (name, one) in enumerate(known):
        start = left + number * (BAR + GAP)
        weak = result.floor is not None and one.mean <= result.floor
        pen.rectangle((start, height(one.mean), start + BAR, height(0)), fill=_WEAK if weak else _FILL)
        if one.spread:
            _error_bar(pen, start + BAR // 2, height(one.mean - one.spread), height(one.mean + one.spread))
        picture.paste(*_upright(name, letters, start, above + HEIGHT + 4))
    if result.floor:
        pen.line((left, height(result.floor), width - GAP, height(result.floor)), fill=HOT)
    return picture


def _error_bar(pen: ImageDraw.ImageDraw, middle: int, low: int, high: int) -> None:
    pen.line((middle, low, middle, high), fill=INK, width=2)
    for end in (low, high):
        pen.line((middle - BAR // 4, end, middle + BAR // 4, end), fill=INK, width=2)


def _upright(name: str, letters: ImageDraw.ImageFont, start: int, top: int) -> tuple[Image.Image, tuple[int, int]]:
    """Return a name turned by a quarter, and where it stands below its bar."""
    text = Image.new("RGB", (ceil(letters.getlength(name)), LETTERS + 5), PAPER)
    ImageDraw.Draw(text).text((0, 0), name, fill=SOFT, font=letters)
    turned = text.rotate(90, expand=True)
    return turned, (start + (BAR - turned.width) // 2, top)


def _short(value: float) -> str:
    return f"{value:.3g}"

"""The grid picture of an analysis: source, changed picture and difference of every block, with labels."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

from lib_lora.analysis.difference import difference_picture
from lib_lora.analysis.effective_block import Analysis, Row
from lib_lora.errors import InputError
from lib_lora.sentences import say

INK, PAPER, SOFT, HOT = (28, 30, 36), (252, 252, 253), (92, 96, 106), (190, 62, 20)
NARROWEST = 620
Letters: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
FIRST_OF_ASIA = 0x2E80
SYSTEM_FONTS = (
    *("YuGothM.ttc", "meiryo.ttc", "msgothic.ttc"),
    *("ヒラギノ角ゴシック W3.ttc", "Hiragino Sans GB.ttc"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "ipag.ttf", "wqy-microhei.ttc"),
)
"""Files of fonts with Japanese letters as Windows, macOS and Linux name them; Pillow knows where they lie."""
_ASIAN = f"{chr(FIRST_OF_ASIA)}-{chr(0x10FFFF)}"
_PIECE = re.compile(rf" ?(?:[（「『]*[{_ASIAN}][、。，）」』ーっッゃゅょャュョ：]*|[^ {_ASIAN}]+)")
"""What is not parted at the end of a line: a word, or a Japanese letter with the signs that do not begin a line."""


@dataclass(frozen=True)
class GridStyle:
    """Sizes in pixels; ``transpose`` makes one column a block instead of one row."""

    cell: int = 128
    gap: int = 6
    transpose: bool = True
    columns: int = 9

    @property
    def letters(self) -> int:
        """Height of the headings in pixels; follows the cells, which a page shows smaller than they are."""
        return max(15, self.cell // 9)


def draw_grid(analysis: Analysis, *, title: str, seed_index: int = 0, style: GridStyle | None = None) -> Image.Image:
    """Return the grid of one seed; blocks without modules are marked instead of rendered.

    Raises:
        InputError: the analysis was stopped before it had a picture.
    """
    if not analysis.sources:
        raise InputError(
            "The analysis was stopped before its first picture", where=say("analyze"), cure="Start it again."
        )
    style = style or GridStyle()
    gain = analysis.gain
    names = _Names(("source", f"block at {analysis.plan.examined:g}", f"difference x{gain:g}"), style)
    strips = [_strip(analysis, row, seed_index, style, names) for row in analysis.rows]
    per_line = style.columns if style.transpose else max(1, style.columns // 3)
    lines = [strips[start : start + per_line] for start in range(0, len(strips), per_line)]
    width = max(NARROWEST, max(names.left + sum(strip.width + style.gap for strip in line) for line in lines))
    heading = _heading(analysis, title, width, style, gain)
    height = heading.height + sum(line[0].height + 2 * style.gap for line in lines)
    picture = Image.new("RGB", (width, height), PAPER)
    picture.paste(heading, (0, 0))
    pen, top = ImageDraw.Draw(picture), heading.height
    for line in lines:
        left = names.left
        names.beside(pen, top)
        for strip in line:
            picture.paste(strip, (left, top))
            left += strip.width + style.gap
        top += line[0].height + 2 * style.gap
    return picture


class _Names:
    """What the three pictures of a block are: beside a line of columns, or above each block's row."""

    def __init__(self, names: tuple[str, ...], style: GridStyle) -> None:
        self._names, self._style = names, style
        self._font = font(style.letters - 3)
        longest = max(_length(name, self._font) for name in names)
        self.left = style.gap + (longest + style.gap if style.transpose else 0)

    def beside(self, pen: ImageDraw.ImageDraw, top: int) -> None:
        """Write the names beside a line of columns."""
        style = self._style
        for number, name in enumerate(self._names if style.transpose else ()):
            middle = _head(style) + number * (style.cell + 2) + style.cell // 2
            pen.text((style.gap, top + middle - style.letters // 2), name, fill=SOFT, font=self._font)

    def above(self, pen: ImageDraw.ImageDraw) -> None:
        """Write the names above the pictures of one row."""
        for number, name in enumerate(() if self._style.transpose else self._names):
            place = (number * (self._style.cell + 2), self._style.letters + 4)
            pen.text(place, _fitted(name, self._font, self._style.cell), fill=SOFT, font=self._font)


def _heading(analysis: Analysis, title: str, width: int, style: GridStyle, gain: float) -> Image.Image:
    """Return title and settings, wrapped to the width of the grid."""
    plan, gap, shown = analysis.plan, style.gap, analysis.plan.options
    how = " (chosen so that the largest change is visible)" if not shown.gain else ""
    text = (
        f"block at {plan.examined:g}, all others at {plan.others:g} · % is the share of color values that change by"
        f" more than {shown.threshold} of 255 · noise floor {analysis.noise_floor:.3f} % · differences x{gain:g}{how}"
    ) + ("" if analysis.finished else " · stopped early")
    big, small = font(style.letters + 3, title), font(style.letters - 1)
    rows = [(line, INK, big, style.letters + 3) for line in wrapped(title, big, width - 2 * gap)]
    rows += [(line, SOFT, small, style.letters - 1) for line in wrapped(text, small, width - 2 * gap)]
    picture = Image.new("RGB", (width, 3 * gap + sum(size + gap for *_, size in rows)), PAPER)
    pen, top = ImageDraw.Draw(picture), gap
    for line, ink, letters, size in rows:
        pen.text((gap, top), line, fill=ink, font=letters)
        top += size + gap
    return picture


def _head(style: GridStyle) -> int:
    """Return the height of a block's own heading: its name, and its number below."""
    return 2 * style.letters + style.gap


def _strip(analysis: Analysis, row: Row, seed_index: int, style: GridStyle, names: _Names) -> Image.Image:
    """Return one block: heading, then source, changed, difference, below one another or side by side."""
    source = analysis.sources[min(seed_index, len(analysis.sources) - 1)]
    changed = row.cells[min(seed_index, len(row.cells) - 1)].image
    shown = [source, changed, None]
    if changed is not None:
        shown[2] = difference_picture(changed, source, color=analysis.plan.options.color, gain=analysis.gain)
    side, step, head = style.cell, style.cell + 2, _head(style)
    size = (side, head + 3 * step) if style.transpose else (3 * step, head + side)
    strip = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(strip)
    ink = SOFT if not row.has_modules else HOT if row.mean > max(10.0, analysis.noise_floor) else INK
    name, text = row.name, f"{row.mean:.3f} %" if row.has_modules else "no modules"
    width = _length(text, font(style.letters - 2)) + 2 * style.gap
    name = _fitted(name, font(style.letters), size[0] - (0 if style.transpose else width))
    place = (0, style.letters + 2) if style.transpose else (_length(name, font(style.letters)) + 2 * style.gap, 1)
    pen.text((0, 0), name, fill=INK, font=font(style.letters))
    pen.text(place, text, fill=ink, font=font(style.letters - 2))
    names.above(pen)
    for number, image in enumerate(shown):
        place = (0, head + number * step) if style.transpose else (number * step, head)
        if image is not None:
            strip.paste(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), place)
        else:
            box = [place[0], place[1], place[0] + side - 1, place[1] + side - 1]
            pen.rectangle(box, outline=(226, 228, 233), fill=(244, 245, 247))
    return strip


def _length(text: str, letters: Letters) -> int:
    """Return the width of a text in pixels."""
    return ceil(letters.getlength(text))


def _fitted(text: str, letters: Letters, width: int) -> str:
    """Return a text, cut with an ellipsis where it is wider than ``width``."""
    if _length(text, letters) <= width:
        return text
    while text and _length(text + "…", letters) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, letters: Letters, width: int) -> list[str]:
    """Return a text in lines of at most ``width``, parted between words, or Japanese letters; too wide ones are cut."""
    lines = [""]
    for piece in _PIECE.findall(" ".join(text.split())):
        longer = lines[-1] + piece
        if _length(longer, letters) <= width:
            lines[-1] = longer
        else:
            lines.append(_fitted(piece.lstrip(), letters, width))
    return [line for line in lines if line]


def draws_japanese() -> bool:
    """Tell whether there is a font with Japanese letters, see `font`."""
    return _system_font(8) is not None


def font(size: int, text: str = "") -> Letters:
    """Return a font at ``size`` pixels: the one that Pillow ships, before Pillow 10.1 the one that matplotlib does.

    A WebUI brings Pillow 9.5, whose own font has one small size; gradio brings matplotlib, which is not imported here.
    None of them has Japanese letters: for a ``text`` with such, the system's own font is taken where there is one.
    """
    asian = _system_font(size) if any(ord(letter) >= FIRST_OF_ASIA for letter in text) else None
    if asian is not None:
        return asian
    try:
        return ImageFont.load_default(size=size)
    except TypeError:
        found = importlib.util.find_spec("matplotlib")
        if found is None or found.origin is None:
            return ImageFont.load_default()
        path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        return ImageFont.truetype(str(path), size) if path.is_file() else ImageFont.load_default()


def _system_font(size: int) -> ImageFont.FreeTypeFont | None:
    for name in SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None

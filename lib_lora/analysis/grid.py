"""The grid picture of an analysis: source, changed picture and difference of every block, with labels."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lib_lora.analysis.effective_block import Analysis, Row
from lib_lora.errors import InputError

INK, PAPER, FAINT, HOT = (28, 30, 36), (252, 252, 253), (150, 154, 164), (214, 84, 40)


@dataclass(frozen=True)
class GridStyle:
    """Sizes in pixels; ``transpose`` makes one column a block instead of one row."""

    cell: int = 128
    gap: int = 6
    label: int = 15
    transpose: bool = True
    columns: int = 9


def draw_grid(analysis: Analysis, *, title: str, seed_index: int = 0, style: GridStyle | None = None) -> Image.Image:
    """Return the grid of one seed; blocks without modules are marked instead of rendered.

    Raises:
        InputError: the analysis was stopped before it had a picture.
    """
    if not analysis.sources:
        raise InputError("the analysis was stopped before its first picture", where="analyze", cure="Start it again.")
    style = style or GridStyle()
    strips = [_strip(analysis, row, seed_index, style) for row in analysis.rows]
    per_line = style.columns if style.transpose else max(1, style.columns // 3)
    lines = [strips[start : start + per_line] for start in range(0, len(strips), per_line)]
    width = style.gap + max(sum(strip.width + style.gap for strip in line) for line in lines)
    head = 3 * style.gap + style.label * 3
    height = head + sum(max(strip.height for strip in line) + 2 * style.gap for line in lines)
    picture = Image.new("RGB", (max(width, 620), height), PAPER)
    _heading(ImageDraw.Draw(picture), analysis, title, style)
    top = head
    for line in lines:
        left = style.gap
        for strip in line:
            picture.paste(strip, (left, top))
            left += strip.width + style.gap
        top += max(strip.height for strip in line) + 2 * style.gap
    return picture


def _heading(pen: ImageDraw.ImageDraw, analysis: Analysis, title: str, style: GridStyle) -> None:
    plan = analysis.plan
    pen.text((style.gap, style.gap), title, fill=INK, font=font(style.label + 3))
    text = (
        f"examined block {plan.examined:g}, all others {plan.others:g} · difference over {plan.threshold} of 255"
        f" · noise floor {analysis.noise_floor:.3f} %" + ("" if analysis.finished else " · stopped early")
    )
    pen.text((style.gap, 2 * style.gap + style.label + 6), text, fill=FAINT, font=font(style.label - 3))


def _strip(analysis: Analysis, row: Row, seed_index: int, style: GridStyle) -> Image.Image:
    """Return one block: label, then source, changed, difference, below one another or side by side."""
    cell = row.cells[min(seed_index, len(row.cells) - 1)]
    shown = [analysis.sources[min(seed_index, len(analysis.sources) - 1)], cell.image, cell.difference]
    names = ["source", f"{analysis.plan.examined:g}", "difference"]
    side, label = style.cell, style.label
    down = style.transpose
    size = (side, label * 2 + 3 * (side + 2)) if down else (3 * (side + 2), label * 2 + side)
    strip = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(strip)
    colour = FAINT if not row.has_modules else HOT if row.mean > max(10.0, analysis.noise_floor) else INK
    pen.text((0, 0), row.name, fill=INK if row.has_modules else FAINT, font=font(label))
    text = f"{row.mean:.3f} %" if row.has_modules else "no modules"
    right = pen.textlength(text, font=font(label - 2))
    pen.text((side - right if down else size[0] - right, 1), text, fill=colour, font=font(label - 2))
    for number, image in enumerate(shown):
        place = (0, label * 2 + number * (side + 2) - 8) if down else (number * (side + 2), label * 2 - 8)
        if image is not None:
            strip.paste(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), place)
        else:
            box = [place[0], place[1], place[0] + side - 1, place[1] + side - 1]
            pen.rectangle(box, outline=(226, 228, 233), fill=(244, 245, 247))
            pen.text((place[0] + 8, place[1] + 8), names[number], fill=FAINT, font=font(label - 4))
    return strip


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font at ``size`` pixels: the one that Pillow ships, before Pillow 10.1 the one that matplotlib does.

    A WebUI brings Pillow 9.5, whose own font has one small size; gradio brings matplotlib, which is not imported here.
    """
    try:
        return ImageFont.load_default(size=size)
    except TypeError:
        found = importlib.util.find_spec("matplotlib")
        path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" if found else None
        return ImageFont.truetype(str(path), size) if path and path.is_file() else ImageFont.load_default()

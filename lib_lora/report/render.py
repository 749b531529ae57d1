"""Renders a report's sections to HTML; every word that comes from outside is escaped here."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from functools import singledispatch
from html import escape
from pathlib import Path

from PIL import Image

from lib_lora.errors import FileError
from lib_lora.picture_file import open_picture
from lib_lora.report.plot import COLORS, bars_svg, curve_svg, format_number
from lib_lora.report.sections import BlockBars, Cell, Commands, Curve, Goals, Grid, Pictures, Report, Section, Table
from lib_lora.report.words import WORDS, Words

STYLE = Path(__file__).with_name("report.css")
# Types that every browser shows; any other picture is converted to PNG.
BROWSER_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
NUMBER = re.compile(r"[-+−±]?[\d.,]+\s?(?:e[-+]?\d+)?\s?(?:[%×x]|[kMGT]?i?B|m?s|min|h|px)?|[-–—]|", re.IGNORECASE)


def render_page(report: Report) -> str:
    """The whole page as text; FileError when one of its pictures cannot be read."""
    words = WORDS[report.language]
    sections = [_section(section, number, words) for number, section in enumerate(report.sections, start=1)]
    links = [
        f'<li><a href="#s{number}">{escape(section.title)}</a></li>'
        for number, section in enumerate(report.sections, start=1)
    ]
    contents = f'<nav aria-label="{words.contents}"><ul class="summary">{"".join(links)}</ul></nav>'
    return (
        f'<!doctype html>\n<html lang="{escape(report.language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f'<body>\n<main>\n<header>\n<h1>{escape(report.title)}</h1>\n<p class="verdict">{escape(report.verdict)}</p>\n'
        f"{_goal_mark(report, words)}{contents if len(links) > 2 else ''}\n</header>\n"
        f"{''.join(sections)}<footer>{words.footer}</footer>\n</main>\n</body>\n</html>\n"
    )


def picture_uri(picture: Path | Image.Image) -> tuple[str, int, int]:
    """A picture as data URI with its width and height; a file that a browser knows keeps its bytes."""
    if isinstance(picture, Image.Image):
        return _encoded(picture), *picture.size
    try:
        data = picture.read_bytes()
        with open_picture(io.BytesIO(data)) as opened:
            opened.load()
            size = opened.size
            known = BROWSER_TYPES.get(opened.format or "")
            uri = f"data:{known};base64,{base64.b64encode(data).decode()}" if known else _encoded(opened)
    except (OSError, FileError) as error:
        raise FileError(
            "This picture for the report cannot be read",
            where=str(picture),
            cure="Make the picture again, or leave it out of the report.",
        ) from error
    return uri, *size


def _encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    plain = picture if picture.mode in ("RGB", "RGBA", "L", "LA", "P", "1") else picture.convert("RGB")
    plain.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _goal_mark(report: Report, words: Words) -> str:
    goals = report.goals()
    if not goals:
        return ""
    reached = sum(goal.reached for goal in goals)
    return _mark(words.goals_reached.format(reached=reached, total=len(goals)), good=reached == len(goals))


def _mark(text: str, *, good: bool) -> str:
    return f'<span class="mark {"good" if good else "bad"}">{"✓" if good else "✗"} {escape(text)}</span>'


def _section(section: Section, number: int, words: Words) -> str:
    text = getattr(section, "text", "")
    paragraph = f"<p>{escape(text)}</p>\n" if text else ""
    return (
        f'<section id="s{number}">\n<h2>{escape(section.title)}</h2>\n{paragraph}{_body(section, words)}\n</section>\n'
    )


@singledispatch
def _body(section: object, words: Words) -> str:
    raise TypeError(f"not a report section: {type(section).__name__}")


@_body.register
def _(section: Pictures, words: Words) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in section.columns)
    rows = []
    for row in section.rows:
        captions = row.captions or ("",) * len(row.cells)
        cells = [
            _picture_cell(cell, caption, alt=f"{row.label}, {column}", words=words)
            for cell, caption, column in zip(row.cells, captions, section.columns, strict=True)
        ]
        rows.append(f'<tr><th scope="row">{escape(row.label)}</th>{"".join(cells)}</tr>\n')
    return (
        f'<table class="pictures" style="--columns:{len(section.columns)}">\n<thead><tr><th></th>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table>"
    )


def _picture_cell(cell: Cell, caption: str, *, alt: str, words: Words) -> str:
    note = f"<small>{escape(caption)}</small>" if caption else ""
    if cell is None:
        return f'<td><span class="none">{words.no_picture}</span>{note}</td>'
    return f"<td>{_img(cell, alt=alt)}{note}</td>"


def _img(picture: Path | Image.Image, *, alt: str) -> str:
    uri, width, height = picture_uri(picture)
    return f'<img src="{uri}" width="{width}" height="{height}" alt="{escape(alt)}">'


@_body.register
def _(section: Curve, words: Words) -> str:
    svg = curve_svg(
        [series.points for series in section.series],
        x_label=section.x_label,
        y_label=section.y_label,
        summary=f"{section.title}: {', '.join(series.name for series in section.series)}",
    )
    if not svg:
        return _empty(words)
    legend = "".join(
        f'<li><svg viewBox="0 0 28 10"><polyline class="s{index % COLORS}" points="0,5 28,5" stroke-width="3"/></svg>'
        f"{escape(series.name)}</li>"
        for index, series in enumerate(section.series)
    )
    return f'<div class="plot-box">{svg}</div>\n<ul class="legend">{legend}</ul>'


@_body.register
def _(section: Table, words: Words) -> str:
    return _table(section.headers, section.rows) if section.rows else _empty(words)


@_body.register
def _(section: Goals, words: Words) -> str:
    rows = [
        (goal.name, goal.value, goal.goal, _mark(words.reached if goal.reached else words.missed, good=goal.reached))
        for goal in section.rows
    ]
    headers = (words.measure, words.value, words.goal, words.result)
    return _table(headers, rows, ready_column=3) if rows else _empty(words)


@_body.register
def _(section: BlockBars, words: Words) -> str:
    svg = bars_svg(section.values, summary=section.title)
    if not svg:
        return _empty(words)
    numbers = _table((words.block, words.value), [(name, format_number(v)) for name, v in section.values.items()])
    details = f"<details><summary>{words.numbers}</summary>{numbers}</details>"
    return f'<div class="plot-box plain">{svg}</div>\n{details}'


@_body.register
def _(section: Grid, words: Words) -> str:
    return f'<div class="grid scroll">{_img(section.image, alt=section.title)}</div>'


@_body.register
def _(section: Commands, words: Words) -> str:
    return "\n".join(f"<pre><code>{escape(command)}</code></pre>" for command in section.commands) or _empty(words)


def _empty(words: Words) -> str:
    return f'<p class="empty">{words.no_data}</p>'


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, ready_column: int | None = None) -> str:
    """A table whose number columns are set to the right; `ready_column` holds markup of our own."""
    columns = range(len(headers))
    numeric = {c for c in columns if c and c != ready_column and all(NUMBER.fullmatch(row[c].strip()) for row in rows)}

    def style(column: int) -> str:
        return ' class="number"' if column in numeric else ""

    head = "".join(f'<th scope="col"{style(c)}>{escape(header)}</th>' for c, header in enumerate(headers))
    lines = []
    for row in rows:
        cells = [cell if c == ready_column else escape(cell) for c, cell in enumerate(row)]
        lines.append("<tr>" + "".join(f"<td{style(c)}>{cell}</td>" for c, cell in enumerate(cells)) + "</tr>\n")
    return (
        f'<div class="scroll"><table class="numbers">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(lines)}</tbody>\n</table></div>"
    )

"""The results of an analysis' tiers as HTML: bars with error bars, a table, a sentence a block, how far they agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lib_lora.analysis.tiers.agreement import agreements
from lib_lora.analysis.tiers.result import BlockResult, Value
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.report.plot import bars_svg, format_number
from lib_lora.services.block_tiers import sentence_of


def tiers_html(results: Sequence[BlockResult], words: Words) -> str:
    """Return all results, the first open, and sentences on how far they agree."""
    agreed = "".join(
        f"<li>{escape(sentence_in_words(sentence_of(one), words.language))}</li>" for one in agreements(results)
    )
    parts = [_tier(result, words, open_=number == len(results) - 1) for number, result in enumerate(results)]
    return "".join(parts) + (f'<ul class="atelier-agreement">{agreed}</ul>' if agreed else "")


def _tier(result: BlockResult, words: Words, *, open_: bool) -> str:
    title = words(f"block_weight.tier_{result.tier}")
    said = {row.block: sentence_in_words(row.said, words.language) for row in result.rows}
    sentences = "".join(f"<li>{escape(said[block])}</li>" for block in result.ranking())
    notes = "".join(
        f'<p class="atelier-hint">{escape(sentence_in_words(note, words.language))}</p>' for note in result.notes
    )
    heading = f"{title}: {sentence_in_words(result.main.title, words.language)} {result.main.unit}"
    errors = {
        row.block: row.values[result.main.key].spread or 0.0 for row in result.rows if result.main.key in row.values
    }
    svg = bars_svg(result.means(), errors=errors, floor=result.floor, summary=heading)
    return (
        f'<details class="atelier-tier"{" open" if open_ else ""}><summary>{escape(heading)}</summary>'
        f'<div class="atelier-plot">{svg}</div><ul>{sentences}</ul>{_table(result, words)}{notes}</details>'
    )


def _table(result: BlockResult, words: Words) -> str:
    heads = [words("block_weight.block")]
    heads += [f"{sentence_in_words(one.title, words.language)} {one.unit}".strip() for one in result.columns]
    lines = []
    for row in result.rows:
        cells = (_cell(row.values.get(one.key)) for one in result.columns)
        lines.append(
            f'<tr><th scope="row">{escape(row.block)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        )
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    return (
        f'<div class="atelier-table-frame"><table class="atelier-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value: Value | None) -> str:
    if value is None or math.isnan(value.mean):
        return "–"
    mean = format_number(value.mean)
    return mean if value.spread is None else f"{mean} ± {format_number(value.spread)}"

"""What a search for block weights has found, as HTML: sentences, pictures, the weights, a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lib_lora.analysis.fit.spec import kept_share
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Folders
from lib_lora.services.fitted import ALL, CHANCE, FOUND, NONE, PRESET, Fitted, Way
from lib_lora.ui.messages import note_html
from lib_lora.ui.workshop.tables import table
from lib_lora.web.routes import file_url


def found_html(found: Fitted, weights: BlockWeights, folders: Folders, words: Words) -> str:
    """Return what was found.

    Args:
        found: it.
        weights: the found weights of the blocks that the file has.
        folders: whose pictures are served.
        words: of the page's language.
    """

    def said(text: str) -> str:
        return sentence_in_words(text, words.language)

    few = [one for one in found.ways if one.kind not in (PRESET, CHANCE)]
    every = sorted(found.ways, key=lambda one: one.held.drift)
    more = escape(words("finder.all_ways", n=len(every)))
    return (
        f'<div class="atelier-found">{note_html(said(found.said), kind="good")}{note_html(said(found.compared))}'
        f"{''.join(note_html(said(note), kind='warning') for note in found.notes)}"
        f"{_picture(found, folders, words)}{_weights(weights, words)}{_table(found, few, words)}"
        f'<p class="atelier-hint">{escape(words("finder.all_is"))}</p>'
        f'<details class="atelier-found-all"><summary>{more}</summary>{_table(found, every, words)}</details></div>'
    )


def _picture(found: Fitted, folders: Folders, words: Words) -> str:
    url = file_url(folders, found.picture) if found.picture else ""
    if not url:
        return ""
    about = escape(words("finder.before_after"))
    return (
        f'<p class="atelier-hint">{about}</p><a href="{url}" target="_blank" title="'
        f'{escape(words("finder.open_picture"))}"><img class="atelier-found-picture" src="{url}" alt="{about}"></a>'
    )


def _weights(weights: BlockWeights, words: Words) -> str:
    cells = "".join(
        f"<span{'' if value else ' class=atelier-zero'}><b>{block}</b> {format_number(round(value, 2) + 0.0)}</span>"
        for block, value in weights.as_dict().items()
    )
    return (
        f'<p class="atelier-hint">{escape(words("finder.weights"))}</p><div class="atelier-found-weights">{cells}</div>'
    )


def _table(found: Fitted, ways: Sequence[Way], words: Words) -> str:
    none, plain = found.way(NONE), found.way(ALL)

    def kept(one: Way) -> str:
        share = kept_share(none, plain, one.held)
        return "–" if math.isnan(share) else f"{100 * share:.0f} %"

    def changed(one: Way) -> str:
        drift = found.shares(one)[1]
        if drift is None:
            return "–"
        return f'<span class="atelier-found-bar" style="--share:{min(1.0, drift / 2):.3f}">{100 * drift:.0f} %</span>'

    rows = [
        (
            f"<b>{escape(title)}</b>" if one.kind == FOUND else escape(title),
            kept(one),
            changed(one),
        )
        for one in ways
        for title in (sentence_in_words(one.title, words.language),)
    ]
    head = [words("finder.way"), words("finder.kept"), words("finder.changed")]
    return table(head, rows, kind="atelier-found-table")

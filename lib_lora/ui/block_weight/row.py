"""The row of blocks: a slider for each block that the file has. Values live in the vector's text field, beside it.

The server draws the row once for a file; `javascript/atelier_blocks.js` paints the values of the vector into it and,
when a slider was moved, writes the new vector into the hidden mailbox, from where it gets into the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lib_lora.blocks.layouts import Layout
from lib_lora.i18n.words import Words
from lib_lora.services.file_facts import Facts

VECTOR, MAILBOX, WATCH = "vector", "mailbox", "watch"


def row_id(place: str, thing: str) -> str:
    """Return the element id of a thing of the accordion; ``place`` tells txt2img's from img2img's."""
    return f"atelier_{place}_bw_{thing}"


def row_html(facts: Facts | None, words: Words, *, place: str, off: bool = False) -> str:
    """Return the row of one file; the same text for the same file, so that a redraw never disturbs a moving slider.

    ``off``: its tag is wrong, so that the LoRA does not act; the row pales and says so.
    """
    if facts is None:
        return ""
    largest = max(facts.shares.values(), default=0.0) or 1.0
    cells = [_cell(name, words, share, share / largest) for name, share in facts.shares.items()]
    row = _frame(cells, facts.layout, words, place)
    if not off:
        return row
    said = escape(words("block_weight.row_off"))
    return f'<div class="atelier-blocks-off"><p class="atelier-hint">{said}</p>{row}</div>'


def layout_html(layout: Layout, words: Words, *, place: str) -> str:
    """Return the row of a layout without a file: every block, no shares."""
    return _frame([_cell(name, words) for name in layout.names], layout, words, place)


def _frame(cells: Sequence[str], layout: Layout, words: Words, place: str) -> str:
    size = "few" if len(cells) <= 12 else "some" if len(cells) <= 20 else "many"
    return (
        f'<div class="atelier-blocks-frame"><div class="atelier-blocks" role="group" '
        f'aria-label="{escape(words("block_weight.row"))}" data-size="{size}" style="--half:{(len(cells) + 1) // 2}" '
        f'data-vector="{row_id(place, VECTOR)}" data-mailbox="{row_id(place, MAILBOX)}" '
        f'data-names="{",".join(layout.names)}">{"".join(cells)}</div></div>'
    )


def _cell(name: str, words: Words, share: float | None = None, length: float = 0.0) -> str:
    value = escape(words("block_weight.block_value", block=name))
    what, bar = value, ""
    if share is not None:
        what = escape(words("block_weight.block_hint", block=name, share=_percent(share)))
        bar = (
            f'<span class="atelier-block-share" aria-hidden="true"><i style="width:{100 * length:.1f}%"></i></span>'
            f"<small>{_percent(share)}</small>"
        )
    return (
        f'<div class="atelier-block" data-block="{name}" title="{what}"><span class="atelier-block-name">{name}</span>'
        f'<input type="range" min="0" max="1" step="0.05" value="1" aria-label="{value}">'
        f'<input type="number" step="0.05" value="1" aria-label="{value}">{bar}</div>'
    )


def _percent(share: float) -> str:
    """Return a share as a person reads it."""
    return f"{100 * share:.0f}%" if share >= 0.095 else f"{100 * share:.1f}%"


def watch_html(fields: Sequence[str], mailbox: str, *, kind: str) -> str:
    """Return a mark for the page's script: write into ``mailbox`` when ``fields`` (element ids) have changed.

    ``kind``: ``tags`` looks at the LoRA tags of a prompt alone, ``values`` at whole values, and only while in sight.
    A WebUI's own widgets are watched so, because an event of theirs would call the server at every key.
    """
    names = escape(" ".join(fields))
    return (
        f'<span class="atelier-watch" data-kind="{kind}" data-fields="{names}" data-mailbox="{escape(mailbox)}"></span>'
    )

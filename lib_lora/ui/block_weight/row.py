"""The row of blocks: a slider for each block that the file has. Values live in the vector's text field, beside it.

The server draws the row once for a file; `javascript/atelier_blocks.js` paints the values of the vector into it and,
when a slider was moved, writes the new vector into the hidden mailbox, from where it gets into the prompt.
"""

from __future__ import annotations

from html import escape

from lib_lora.ui.block_weight.facts import Facts
from lib_lora.ui.words import Words

VECTOR, MAILBOX = "vector", "mailbox"


def row_id(place: str, thing: str) -> str:
    """Return the element id of a thing of the accordion; ``place`` tells txt2img's from img2img's."""
    return f"atelier_{place}_bw_{thing}"


def row_html(facts: Facts | None, words: Words, *, place: str) -> str:
    """Return the row of one file; the same text for the same file, so that a redraw never disturbs a moving slider."""
    if facts is None:
        return ""
    largest = max(facts.shares.values(), default=0.0) or 1.0
    cells = "".join(_cell(name, share, share / largest, words) for name, share in facts.shares.items())
    return (
        f'<div class="atelier-blocks" role="group" aria-label="{escape(words("block_weight.row"))}" '
        f'data-vector="{row_id(place, VECTOR)}" data-mailbox="{row_id(place, MAILBOX)}" '
        f'data-names="{",".join(facts.layout.names)}">{cells}</div>'
    )


def _cell(name: str, share: float, length: float, words: Words) -> str:
    what = escape(words("block_weight.block_hint", block=name, share=_percent(share)))
    value = escape(words("block_weight.block_value", block=name))
    return (
        f'<div class="atelier-block" data-block="{name}" title="{what}"><span class="atelier-block-name">{name}</span>'
        f'<input type="range" min="0" max="1" step="0.05" value="1" aria-label="{value}">'
        f'<input type="number" step="0.05" value="1" aria-label="{value}">'
        f'<span class="atelier-block-share" aria-hidden="true"><i style="width:{100 * length:.1f}%"></i></span>'
        f"<small>{_percent(share)}</small></div>"
    )


def _percent(share: float) -> str:
    """Return a share as a person reads it."""
    return f"{100 * share:.0f}%" if share >= 0.095 else f"{100 * share:.1f}%"

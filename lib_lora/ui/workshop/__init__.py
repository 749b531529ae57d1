"""Tab *LoRA Workshop*: Blocks, Merge and Metadata, each in a frame that later work fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.ui.compat import HIDDEN, event_kw, gr, js_kw, nudge
from lib_lora.ui.workshop import blocks, merge, metadata_page, rewriting

__all__ = ["WorkshopPanel", "build"]


TAKE = "(chosen, own) => own || chosen || null"
"""A file chosen in another tab, where none is chosen here."""


@dataclass(frozen=True)
class WorkshopPanel:
    """What the app wires to other panels.

    Attributes:
        uses: (event, textbox) of every button "Use in prompt"; when the event is over the box holds a tag, or nothing
            after an error. The app continues it: ``event.then(insert, [box, prompt], [prompt])``.
        lists: widgets that list LoRAs.
        refresh: returns an update for each of ``lists``; for the event that opens the tab.
    """

    uses: tuple[tuple[Any, gr.Textbox], ...]
    lists: tuple[Any, ...]
    refresh: Any


def build(atelier: Atelier, words: Words, *, prompt: gr.Textbox | None = None) -> WorkshopPanel:
    """Build the tab in the open Blocks; ``prompt`` is that of Generate, where it stands in the same page."""
    with gr.Tabs(elem_id="atelier_workshop_tabs") as tabs:
        with gr.Tab(words("workshop.tab_blocks"), id="blocks", elem_id="atelier_workshop_tab_blocks") as first:
            block_panel = blocks.build(atelier, words, prompt=prompt)
        with gr.Tab(words("workshop.tab_merge"), id="merge", elem_id="atelier_workshop_tab_merge") as second:
            merge_panel = merge.build(atelier, words, prompt=prompt)
            rewrite_panel = rewriting.build(atelier, words)
        with gr.Tab(words("workshop.tab_metadata"), id="metadata", elem_id="atelier_workshop_tab_metadata") as third:
            metadata_panel = metadata_page.build(atelier, words)
    # The file that was chosen last, in whichever tab: the next one opened begins with it. Kept and handed on in the
    # page: an answer of the server would come after what a quick hand chose meanwhile (and a State is the server's).
    chosen = gr.Textbox("", visible=HIDDEN)
    in_tabs: list[tuple[Any, tuple[Any, ...]]] = [(first, (block_panel,)), (second, (merge_panel, rewrite_panel))]
    in_tabs.append((third, (metadata_panel,)))
    for tab, panels in in_tabs:
        lists, refresh = _together(panels)
        opened = tab.select(refresh, lists, lists, **event_kw())
        for panel in panels:
            panel.file.input(None, [panel.file], [chosen], **js_kw("(name) => name || ''"), **event_kw())
            taken = opened.then(None, [chosen, panel.file], [panel.file], **js_kw(TAKE), **event_kw())
            if panel is merge_panel:
                nudge(taken.then, merge_panel.moved)
    blocks.wire_bake(block_panel, merge_panel, tabs)
    lists, refresh = _together([panel for _, panels in in_tabs for panel in panels])
    return WorkshopPanel((*block_panel.uses, merge_panel.use), tuple(lists), refresh)


def _together(panels: Sequence[Any]) -> tuple[list[Any], Any]:
    """Return the lists of several panels, and what renews them all."""

    def refresh(*values: Any) -> list[Any]:
        found, start = [], 0
        for panel in panels:
            found += panel.refresh(*values[start : start + len(panel.lists)])
            start += len(panel.lists)
        return found

    return [widget for panel in panels for widget in panel.lists], refresh

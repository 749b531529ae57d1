"""Make weights: sliders for all blocks of a layout, without any LoRA, saved as a preset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib_lora.blocks.layouts import Layout, layout_title
from lib_lora.errors import AtelierError
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.services.presets import save_preset
from lib_lora.ui import compat
from lib_lora.ui.block_weight.analyzer import layouts_of
from lib_lora.ui.block_weight.row import MAILBOX, VECTOR, layout_html, row_id
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.messages import error_html, note_html


@dataclass(frozen=True)
class MakeWeights:
    """The event of a save, after which others show the new preset."""

    saved: Any


def build(atelier: Atelier, words: Words, *, place: str) -> MakeWeights:
    """Build the panel inside the open accordion."""
    own = f"{place}_make"

    def ident(thing: str) -> dict[str, str]:
        return {"elem_id": row_id(own, thing)}

    labels: dict[str, Layout] = {f"{layout_title(one)} · {one.length}": one for one in layouts_of(atelier)}
    chosen = next(iter(labels))  # every block of the first family
    first = labels[chosen]
    with gr.Row(elem_classes="atelier-bw-line"):
        layout = gr.Dropdown(list(labels), value=chosen, label=words("block_weight.make_layout"), **ident("layout"))
        name = gr.Textbox("", label=words("block_weight.preset_name"), max_lines=1, **ident("name"))
    row = gr.HTML(layout_html(first, words, place=own), **ident("row"))
    with gr.Row(elem_classes="atelier-bw-line"):
        vector = gr.Textbox(
            ones(first.length), label=words("block_weight.make_vector"), max_lines=1, scale=6, **ident(VECTOR)
        )
        with gr.Column(scale=1, min_width=150, elem_classes="atelier-bw-buttons"):
            replace = gr.Checkbox(False, label=words("block_weight.replace"), **ident("replace"))
            save = gr.Button(words("block_weight.save"), size="sm", **ident("save"))
    gr.Textbox("", visible=HIDDEN, label="mailbox", **ident(MAILBOX))  # where the sliders write; nobody must answer
    message = gr.HTML("", **ident("message"))

    def show(label: str) -> tuple[str, str]:
        found = labels.get(label, first)
        return layout_html(found, words, place=own), ones(found.length)

    def keep(called: str, values: str, over: bool) -> str:
        try:
            save_preset(atelier, called or "", values, replace=bool(over))
        except AtelierError as error:
            return error_html(error, words)
        return note_html(words("block_weight.made", name=called.strip()), kind="good")

    light = {"queue": False, **compat.event_kw()}
    layout.input(show, layout, [row, vector], **light)
    return MakeWeights(save.click(keep, [name, vector, replace], message, **light))


def ones(length: int) -> str:
    """Return a vector that leaves every block as it is."""
    return ",".join(["1"] * length)

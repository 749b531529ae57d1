"""The tab Metadata: its widgets, and what they do when they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.options import options_of
from lib_lora.services import cards
from lib_lora.services import files as file_work
from lib_lora.services.atelier import Atelier
from lib_lora.services.labels import LabelOptions
from lib_lora.ui import compat
from lib_lora.ui.compat import event_kw, gr, update
from lib_lora.ui.option_widget import widget
from lib_lora.ui.workshop import batch, earlier, family, metadata, work

IN_SIGHT = 4
"""Fields of the form that stand above "more"."""
KNOWN = {one.name: one for one in options_of(LabelOptions)}
EXPLAINED = ("trigger_words", "preferred_weight", "block_weights")


@dataclass(frozen=True)
class MetadataPanel:
    """The widgets that list LoRAs."""

    file: gr.Dropdown
    lists: tuple[Any, ...]
    refresh: Any


@dataclass(frozen=True)
class _Form:
    fields: tuple[Any, ...]
    cover: Any
    new_cover: gr.State
    entries: Any
    card: Any
    prefer: Any
    drop_private: gr.Checkbox
    private: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """Return what `Handlers.edit` reads."""
        return [*self.fields, self.entries, self.card, self.prefer, self.new_cover, self.drop_private]


def build(atelier: Atelier, words: Words) -> MetadataPanel:
    """Build the tab."""
    do = metadata.Handlers(atelier, words)
    with gr.Row():
        text = work.line(words("workshop.search"), "meta_search", placeholder=words("workshop.search_hint"), scale=2)
        file = compat.dropdown(
            file_work.names(atelier),
            value=None,
            label=words("workshop.file"),
            scale=3,
            elem_id="atelier_workshop_meta_file",
        )
    message = gr.HTML(work.choose_first(atelier, words), elem_id="atelier_workshop_meta_message")
    form = _build_form(do, words, file, message)
    with gr.Row():
        where = gr.Radio(
            [(words("workshop.where_copy"), "copy"), (words("workshop.where_place"), "place")],
            value="copy",
            label=words("workshop.where"),
            scale=2,
        )
        copy = work.line(words("workshop.copy_name"), "meta_copy", scale=2)
    with gr.Row():
        preview = gr.Button(words("workshop.preview_changes"), elem_id="atelier_workshop_meta_preview")
        save = gr.Button(words("workshop.save_metadata"), variant="primary", elem_id="atelier_workshop_meta_save")
        stop = work.cancel_button(atelier, words, "atelier_workshop_meta_stop", kind=metadata.SAVE)
    result = gr.HTML(elem_id="atelier_workshop_meta_result")
    changes = gr.HTML(elem_id="atelier_workshop_meta_changes")
    past = earlier.build(atelier, words, file)
    made = family.build(atelier, words, file)
    other, raw = _build_more(do, words, file)
    batch_panel = batch.build(atelier, words, text)
    loaded = [*form.fields, form.cover, form.new_cover, form.entries, form.private, raw, copy, form.prefer, message]
    lists = (file, other, batch_panel.files)
    text.submit(do.search, [text, file], [file, batch_panel.files, message], **event_kw())
    file.change(do.load, [file], loaded, **event_kw())
    file.change(lambda: ("", ""), None, [result, changes], **event_kw())
    where.change(lambda chosen: update(visible=chosen == "copy"), [where], [copy], **event_kw())
    preview.click(do.preview, [file, where, copy, *form.inputs], [result, changes], **event_kw())
    saved = save.click(
        do.save, [file, where, copy, *form.inputs], [result, changes, stop], **event_kw(side_by_side=True)
    )
    saved.then(do.refresh, [*lists], [*lists], **event_kw())
    made.then(do.refresh, [*lists], [*lists], **event_kw())
    for done in past.undone:
        done.then(do.load, [file], loaded, **event_kw())
    return MetadataPanel(file, lists, do.refresh)


def _build_form(do: metadata.Handlers, words: Words, file: gr.Dropdown, message: gr.HTML) -> _Form:
    atelier = do.atelier

    def box(name: str) -> gr.Textbox:
        more = {"lines": 3, "max_lines": 20} if name in ("description", "notes") else {}
        ident = f"atelier_workshop_meta_{name}"
        return widget(KNOWN[name], words, info=name in EXPLAINED, value="", elem_id=ident, **more)

    with gr.Row():
        with gr.Column(scale=3):
            first = [box(name) for name in metadata.FORM[:IN_SIGHT]]
        with gr.Column(scale=1, min_width=220):
            cover = gr.Image(
                label=words.said(KNOWN["cover"].label), height=240, interactive=False, elem_id="atelier_workshop_cover"
            )
            drop = compat.picture_input(
                label=words("workshop.new_cover"), height=140, elem_id="atelier_workshop_cover_drop"
            )
            shown = gr.Button(
                words.said(KNOWN["cover_from_preview"].label), size="sm", elem_id="atelier_workshop_cover_preview"
            )
            remove = gr.Button(
                words.said(KNOWN["remove_cover"].label), size="sm", elem_id="atelier_workshop_cover_remove"
            )
    new_cover = gr.State(metadata.SAME)
    drop.upload(do.new_cover, [drop], [cover, new_cover, drop, message], **event_kw())
    shown.click(do.preview_cover, [file], [cover, new_cover, message], **event_kw())
    remove.click(lambda: (None, metadata.DROPPED), None, [cover, new_cover], **event_kw())
    with gr.Accordion(words("workshop.more"), open=False):
        rest = [box(name) for name in metadata.FORM[IN_SIGHT:]]
        entries = batch.entries_box(words, "atelier_workshop_meta_entries")
        card = batch.card_choice(atelier, words, "atelier_workshop_meta_card")
    private = gr.HTML()
    drop_private = widget(KNOWN["remove_private"], words, info=False, elem_id="atelier_workshop_drop_private")
    prefer = gr.Radio(
        [(words(f"workshop.prefer_{name}"), name) for name in (cards.NEITHER, cards.FILE, cards.CARD)],
        value=cards.NEITHER,
        label=words.said(KNOWN["prefer"].label),
        visible=False,
        elem_id="atelier_workshop_meta_prefer",
    )
    return _Form((*first, *rest), cover, new_cover, entries, card, prefer, drop_private, private)


def _build_more(do: metadata.Handlers, words: Words, file: gr.Dropdown) -> tuple[Any, Any]:
    """Build hashes, comparison and the raw view; returns the other file's list and the raw view."""
    with gr.Accordion(words("workshop.hashes"), open=False):
        with gr.Row():
            check = gr.Button(words("workshop.check_hashes"), elem_id="atelier_workshop_check_hashes")
            stop = work.cancel_button(do.atelier, words, "atelier_workshop_hash_stop", kind=metadata.HASH)
        said, found = gr.HTML(), gr.HTML(elem_id="atelier_workshop_hashes")
    with gr.Accordion(words("workshop.compare"), open=False):
        other = compat.dropdown(file_work.names(do.atelier), value=None, label=words("workshop.compare_with"))
        differences = gr.HTML()
        with gr.Row():
            deep = gr.Button(words("workshop.compare_blocks"), elem_id="atelier_workshop_compare_blocks")
            halt = work.cancel_button(do.atelier, words, "atelier_workshop_compare_stop", kind=metadata.COMPARE)
        changed = gr.HTML(elem_id="atelier_workshop_compared")
        deep.click(do.compare_blocks, [file, other], [changed, halt], **event_kw(side_by_side=True))
    with gr.Accordion(words("workshop.raw"), open=False):
        raw = gr.Code("{}", language="json", label=words("workshop.raw"), interactive=False)
    check.click(do.hashes, [file], [said, found, stop], **event_kw(side_by_side=True))
    other.input(do.compare, [file, other], [differences], **event_kw())
    return other, raw

"""The text of the block weight presets: checked while it is written, saved with backups, extended by other files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.store import read_text
from lib_lora.errors import AtelierError
from lib_lora.ui import compat
from lib_lora.ui.block_weight.presets_file import check_html, presets_path, save_presets, with_imported
from lib_lora.ui.compat import gr
from lib_lora.ui.context import Atelier
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.words import Words


@dataclass(frozen=True)
class PresetEditor:
    """The editor's text and the event of a save, after which others show the new presets."""

    text: Any
    saved: Any


def build(atelier: Atelier, words: Words, *, place: str) -> PresetEditor:
    """Build the editor."""

    def ident(thing: str) -> dict[str, str]:
        return {"elem_id": f"atelier_{place}_presets_{thing}"}

    text = gr.Textbox(
        lambda: atelier.host.presets.text,
        label=words("block_weight.presets_label"),
        info=words("block_weight.presets_hint", path=presets_path(atelier)),
        lines=10,
        max_lines=18,
        elem_classes="atelier-mono",
        **ident("text"),
    )
    message = gr.HTML("", **ident("message"))
    with gr.Row():
        save = gr.Button(words("block_weight.presets_save"), variant="primary", size="sm", **ident("save"))
        undo = gr.Button(words("block_weight.presets_undo"), size="sm", **ident("undo"))
        shipped = gr.Button(words("block_weight.presets_shipped"), size="sm", **ident("shipped"))
    load = compat.file_input(label=words("block_weight.presets_import"), file_types=[".txt"], **ident("import"))

    def on_save(now: str) -> str:
        try:
            saved = save_presets(atelier, now)
        except AtelierError as error:
            return error_html(error, words)
        return note_html(words("block_weight.presets_saved", n=len(saved.presets)), kind="good")

    def on_import(file: Any, now: str) -> tuple[Any, str]:
        paths = compat.file_paths(file)
        if not paths:
            return compat.update(), ""
        try:
            other = read_text(paths[0])
        except AtelierError as error:
            return compat.update(), error_html(error, words)
        joined, new, old = with_imported(now, other)
        broken = len([problem for problem in PresetFile.parse(other).problems if problem.fatal])
        return joined, note_html(words("block_weight.imported", new=new, old=old, broken=broken), kind="note")

    light = {"queue": False, **compat.event_kw()}
    text.input(lambda now: check_html(now, words), text, message, **light)
    saved = save.click(on_save, text, message, **light)
    undo.click(lambda: (atelier.host.presets.text, ""), None, [text, message], **light)
    note = note_html(words("block_weight.shipped_shown"))
    shipped.click(lambda: (PresetFile.shipped().text, note), None, [text, message], **light)
    load.upload(on_import, [load, text], [text, message], **light)
    return PresetEditor(text, saved)

"""The text of the block weight presets: checked while it is written, saved with backups, extended by other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.blocks.errors import LineProblem
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.store import read_text
from lib_lora.errors import AtelierError
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.services.presets import presets_path, save_presets, with_imported, with_later
from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html


@dataclass(frozen=True)
class PresetEditor:
    """The event of a save, after which others show the new presets."""

    saved: Any


def build(atelier: Atelier, words: Words, *, place: str, others: Sequence[Path] = ()) -> PresetEditor:
    """Build the editor; ``others``: preset files of other extensions, which a click imports."""

    def ident(thing: str) -> dict[str, str]:
        return {"elem_id": f"atelier_{place}_presets_{thing}"}

    text = gr.Textbox(
        "",
        label=words("block_weight.presets_label"),
        info=words("block_weight.presets_hint", path=presets_path(atelier)),
        lines=10,
        max_lines=18,
        interactive=False,  # until the presets are there: what was typed before them would be all that is saved
        elem_classes="atelier-mono",
        **ident("text"),
    )
    base = gr.State("")  # what was shown first: another accordion, or another visitor, may save meanwhile
    message = gr.HTML("", **ident("message"))
    with gr.Row(elem_classes="atelier-bw-line"):
        save = gr.Button(words("block_weight.presets_save"), variant="primary", size="sm", **ident("save"))
        undo = gr.Button(words("block_weight.presets_undo"), size="sm", **ident("undo"))
        shipped = gr.Button(words("block_weight.presets_shipped"), size="sm", **ident("shipped"))
    takers = [(path, gr.Button(words("block_weight.presets_take", path=path), size="sm")) for path in others]
    load = compat.file_input(
        label=words("block_weight.presets_import"), file_types=[".txt"], height=140, **ident("import")
    )

    def on_save(now: str, before: str) -> tuple[Any, Any, str]:
        try:
            saved = save_presets(atelier, with_later(now, before, atelier.host.presets.text))
        except AtelierError as error:
            return compat.update(), before, error_html(error, words)
        note = note_html(words("block_weight.presets_saved", n=len(saved.presets)), kind="good")
        return saved.text, saved.text, note

    def current() -> tuple[Any, str]:
        now = atelier.host.presets.text
        return compat.update(value=now, interactive=True), now

    def on_import(file: Any, now: str) -> tuple[Any, str]:
        paths = compat.file_paths(file)
        return imported(now, paths[0], words) if paths else (compat.update(), "")

    light = {"queue": False, **compat.event_kw()}
    compat.typed(text)(lambda now: check_html(now, words), text, message, **light)
    compat.page_being_built().load(current, None, [text, base], **light)
    saved = save.click(on_save, [text, base], [text, base, message], **light)
    undo.click(lambda: (*current(), ""), None, [text, base, message], **light)
    note = note_html(words("block_weight.shipped_shown"))
    shipped.click(lambda: (PresetFile.shipped().text, note), None, [text, message], **light)
    load.upload(on_import, [load, text], [text, message], **light)
    for path, taker in takers:
        taker.click(partial(imported, path=path, words=words), text, [text, message], **light)
    return PresetEditor(saved)


def imported(now: str, path: Path, words: Words) -> tuple[Any, str]:
    """Return the editor's text with the presets of a file that it lacks, and a message; nothing is saved yet."""
    try:
        other = read_text(path)
    except AtelierError as error:
        return compat.update(), error_html(error, words)
    joined, new, old = with_imported(now, other)
    broken = len([problem for problem in PresetFile.parse(other).problems if problem.fatal])
    return joined, note_html(words("block_weight.imported", new=new, old=old, broken=broken), kind="note")


def check_html(text: str, words: Words) -> str:
    """Return what is to be said of a preset text, line by line."""
    presets = PresetFile.parse(text)
    if not presets.problems:
        good = escape(words("block_weight.presets_good", n=len(presets.presets)))
        return f'<div class="atelier-message atelier-good" role="status">{good}</div>'
    lines = "".join(f"<li>{escape(_line(problem, words))}</li>" for problem in presets.problems)
    kind = "error" if any(problem.fatal for problem in presets.problems) else "warning"
    return f'<div class="atelier-message atelier-{kind}" role="alert"><ul>{lines}</ul></div>'


def _line(problem: LineProblem, words: Words) -> str:
    what, cure = (sentence_in_words(text, words.language) for text in (problem.what, problem.cure))
    return words("block_weight.line", n=problem.line, what=what.rstrip(".。"), cure=cure)

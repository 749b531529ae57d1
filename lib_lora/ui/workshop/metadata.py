"""Metadata: what a file says about itself, changed in a form; hashes, private traces, comparison, many files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.analysis.file_comparison import compare_files
from lib_lora.data.images import load_picture
from lib_lora.errors import AtelierError
from lib_lora.formats.cover import read_cover, small_cover
from lib_lora.formats.editing import Edit, changes_of, hashes_of, plan
from lib_lora.formats.files import read_header
from lib_lora.formats.metadata import describe, private_keys
from lib_lora.formats.names import ENDING, file_stem, proposed_stem
from lib_lora.formats.search import find_files
from lib_lora.i18n.words import Words
from lib_lora.options import options_of
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import files as file_work
from lib_lora.services import labels
from lib_lora.services.atelier import Atelier
from lib_lora.services.labels import LabelOptions
from lib_lora.ui import compat
from lib_lora.ui.compat import event_kw, gr, update
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.workshop import batch, work
from lib_lora.ui.workshop.tables import change_table, comparison_table, cut, hash_table, readable_date, table

FORM = (
    "title",
    "trigger_words",
    "preferred_weight",
    "block_weights",
    "author",
    "source_url",
    "description",
    "tags",
    "notes",
)
"""The fields of the form in their order; those after `IN_SIGHT` stand under "more"."""
IN_SIGHT = 4
KNOWN = {one.name: one for one in options_of(LabelOptions)}

EXPLAINED = ("trigger_words", "preferred_weight", "block_weights")

SAVE, HASH, COMPARE = "workshop metadata", "workshop hash", "workshop compare"
"""The kinds of work, so that each one's Cancel stops it and nothing else."""
IDLE = update(visible=False)
"""What Cancel is told when there is nothing to cancel."""

SAME, DROPPED = "", "dropped"
"""What the page keeps of the cover: as in the file, taken away, or else the path of a new picture."""


@dataclass(frozen=True)
class MetadataPanel:
    """The widgets that list LoRAs."""

    file: gr.Dropdown
    lists: tuple[Any, ...]
    refresh: Any


class Handlers:
    """The events of the tab in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words = atelier, words

    def refresh(self, name: str | None, other: str | None, chosen: list[str] | None) -> list[Any]:
        """Return the lists as they are now."""
        found = file_work.names(self.atelier)
        many = work.listed(found, chosen, [one for one in chosen or [] if one in found])
        return [work.choices(self.atelier, name), work.choices(self.atelier, other), many]

    def search(self, text: str, name: str | None) -> tuple[Any, Any, str]:
        """Return the lists of files whose name or metadata have all words of ``text``, and how many those are."""
        every = self.atelier.host.list_loras()
        found, broken = find_files(every, text)
        message = self.words("workshop.found", n=len(found), all=len(every))
        if broken:
            message += " " + self.words("workshop.broken_files", names=", ".join(broken))
        value = name if name in found else None
        return update(choices=found, value=value), update(choices=found, value=[]), note_html(message)

    def load(self, name: str | None) -> list[Any]:
        """Return the form filled from a file: fields, cover, private traces, raw view, new name, message."""
        if not name:
            return [*[""] * len(FORM), None, SAME, "", "{}", "", ""]
        try:
            path = file_work.file_of(self.atelier, name)
            metadata = read_header(path).metadata
        except AtelierError as error:
            return [*[""] * len(FORM), None, SAME, "", "{}", "", error_html(error, self.words)]
        fields = describe(metadata).fields
        raw = {key: cut_raw(value) for key, value in sorted(metadata.items())}
        copy = proposed_stem([name, "edited"], taken=file_work.names(self.atelier))
        values = [fields[field] for field in FORM]
        text = json.dumps(raw, ensure_ascii=False, indent=1)
        return [*values, read_cover(metadata), SAME, self.private(metadata), text, copy, self.facts(metadata)]

    def facts(self, metadata: Mapping[str, str]) -> str:
        """Return a line of what the training left in the file."""
        facts = describe(metadata).facts
        known = [
            f"{self.words(f'workshop.fact_{key}')}: {readable_date(facts[name]) if key == 'date' else facts[name]}"
            for name, key in _FACTS.items()
            if name in facts
        ]
        return f'<p class="atelier-sum">{escape(" · ".join(known))}</p>' if known else ""

    def private(self, metadata: Mapping[str, str]) -> str:
        """Return which keys tell of the training's folders, captions and paths."""
        keys = private_keys(metadata)
        if not keys:
            return note_html(self.words("workshop.private_none"), kind="good")
        return note_html(self.words("workshop.private_some", n=len(keys), keys=", ".join(keys)), kind="warning")

    def new_cover(self, file: Any) -> list[Any]:
        """Return a dropped picture as it is shown, its path, the emptied place to drop one, and a message."""
        paths = compat.file_paths(file)
        if not paths:
            return [update(), update(), None, ""]
        try:
            return [small_cover(load_picture(paths[0])), str(paths[0]), None, ""]
        except AtelierError as error:
            error.where = paths[0].name  # what the person dropped, not where the upload lies meanwhile
            return [update(), SAME, None, error_html(error, self.words)]

    def edit(self, *values: Any) -> Edit:
        """Return the edit that the form says; a picture that cannot be read raises."""
        fields, (cover, drop_private) = values[: len(FORM)], values[len(FORM) :]
        picture = cover if cover not in (SAME, DROPPED) else ""
        texts = dict(zip(FORM, fields, strict=True))
        return LabelOptions(**texts, cover=picture, remove_cover=cover == DROPPED, remove_private=drop_private).edit()

    def preview(self, name: str | None, *values: Any) -> tuple[str, str]:
        """Return a message and the table of what saving would change."""
        found, message = work.tried(self.words, lambda: plan(file_work.file_of(self.atelier, name), self.edit(*values)))
        if found is None:
            return message, ""
        if not found:
            return note_html(self.words("workshop.no_change")), ""
        text = self.words("workshop.will_change", n=len(found))
        return note_html(text), change_table({name or "": found}, self.words)

    def save(self, name: str | None, where: str, copy: str, *values: Any) -> Iterator[tuple[str, str, Any]]:
        """Write the form into a new file or in place; yields (message, table, Cancel)."""
        try:
            path, edit = file_work.file_of(self.atelier, name), self.edit(*values)
            plan(path, edit)
            target = self._target(copy) if where == "copy" else None
            labels.check(path, target, self.atelier)
        except AtelierError as error:
            yield error_html(error, self.words), "", IDLE
            return

        def write(progress: Progress) -> labels.Labeled:
            progress.passed(0, 1, say("saving"))
            return labels.write(path, edit, target=target)

        job = file_work.submit(self.atelier, (target or path).stem, write, kind=SAVE)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended)
        if job.result is not None:
            made: labels.Labeled = job.result
            text = self.words("workshop.meta_saved", path=str(made.path))
            if made.backup is not None:
                text = self.words("workshop.meta_saved_in_place", path=str(made.path), backup=str(made.backup))
            yield note_html(text, kind="good"), change_table({made.path.stem: made.changes}, self.words), IDLE

    def _target(self, name: str) -> Path:
        return self.atelier.folders.allowed(self.atelier.folders.loras / f"{file_stem(name)}{ENDING}")

    def hashes(self, name: str | None) -> Iterator[tuple[str, str, Any]]:
        """Compute a file's hashes; yields (message, table, Cancel)."""
        path, message = work.tried(self.words, lambda: file_work.file_of(self.atelier, name))
        if path is None:
            yield message, "", IDLE
            return

        job = file_work.submit(self.atelier, str(name), lambda progress: hashes_of(path, progress), kind=HASH)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended)
        if job.result is not None:
            good = job.result.stored == job.result.computed
            key = "hashes_good" if good else "hashes_bad" if job.result.stored else "hashes_none"
            note = note_html(self.words(f"workshop.{key}"), kind="good" if good else "warning")
            yield note, hash_table(job.result, self.words), IDLE

    def compare(self, name: str | None, other: str | None) -> str:
        """Return the table of what two files say differently."""

        def read() -> list[dict[str, str]]:
            return [read_header(file_work.file_of(self.atelier, one)).metadata for one in (name, other)]

        both, message = work.tried(self.words, read)
        if both is None:
            return message
        changes = changes_of(*both)
        if not changes:
            return note_html(self.words("workshop.same_metadata"))
        rows = [[escape(c.key), cut(c.before, self.words), cut(c.after, self.words)] for c in changes]
        return table([self.words("workshop.head_key"), str(name), str(other)], rows, kind="atelier-changes")

    def compare_blocks(self, name: str | None, other: str | None) -> Iterator[tuple[str, Any]]:
        """Compare what two files change, block by block; yields (table, Cancel)."""
        try:
            first, second = (file_work.file_of(self.atelier, one) for one in (name, other))
        except AtelierError as error:
            yield error_html(error, self.words), IDLE
            return
        titled = f"{name} | {other}"
        job = file_work.submit(self.atelier, titled, lambda told: compare_files(first, second, told), kind=COMPARE)
        for html in work.shown(self.atelier, self.words, job):
            yield html, update(visible=not job.ended)
        if job.result is not None:
            yield comparison_table(job.result, self.words), IDLE


_FACTS = {
    "base model": "base",
    "method": "method",
    "rank": "rank",
    "alpha": "alpha",
    "steps": "steps",
    "epoch": "epoch",
    "pictures": "pictures",
    "resolution": "resolution",
    "learning rate": "rate",
    "date": "date",
}


def cut_raw(value: str) -> str:
    """Return a value for the raw view; a cover picture of many kilobytes is shortened."""
    return value if len(value) <= 20_000 else f"{value[:200]} … ({len(value)})"


@dataclass(frozen=True)
class _Form:
    fields: tuple[Any, ...]
    cover: Any
    new_cover: gr.State
    drop_private: gr.Checkbox
    private: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """Return what `Handlers.edit` reads."""
        return [*self.fields, self.new_cover, self.drop_private]


def build(atelier: Atelier, words: Words) -> MetadataPanel:
    """Build the tab."""
    do = Handlers(atelier, words)
    with gr.Row():
        text = gr.Textbox(
            "", label=words("workshop.search"), placeholder=words("workshop.search_hint"), max_lines=1, scale=2
        )
        file = compat.dropdown(
            file_work.names(atelier),
            value=None,
            label=words("workshop.file"),
            scale=3,
            elem_id="atelier_workshop_meta_file",
        )
    message = gr.HTML(note_html(words("workshop.choose_file")), elem_id="atelier_workshop_meta_message")
    form = _build_form(do, words, message)
    with gr.Row():
        where = gr.Radio(
            [(words("workshop.where_copy"), "copy"), (words("workshop.where_place"), "place")],
            value="copy",
            label=words("workshop.where"),
            scale=2,
        )
        copy = gr.Textbox(
            "", label=words("workshop.copy_name"), max_lines=1, scale=2, elem_id="atelier_workshop_meta_copy"
        )
    with gr.Row():
        preview = gr.Button(words("workshop.preview_changes"), elem_id="atelier_workshop_meta_preview")
        save = gr.Button(words("workshop.save_metadata"), variant="primary", elem_id="atelier_workshop_meta_save")
        stop = work.cancel_button(atelier, words, "atelier_workshop_meta_stop", kind=SAVE)
    result = gr.HTML(elem_id="atelier_workshop_meta_result")
    changes = gr.HTML(elem_id="atelier_workshop_meta_changes")
    other, raw = _build_more(do, words, file)
    batch_panel = batch.build(atelier, words)
    loaded = [*form.fields, form.cover, form.new_cover, form.private, raw, copy, message]
    lists = (file, other, batch_panel.files)
    text.submit(do.search, [text, file], [file, batch_panel.files, message], **event_kw())
    file.change(do.load, [file], loaded, **event_kw())
    where.change(lambda chosen: update(visible=chosen == "copy"), [where], [copy], **event_kw())
    preview.click(do.preview, [file, *form.inputs], [result, changes], **event_kw())
    saved = save.click(
        do.save, [file, where, copy, *form.inputs], [result, changes, stop], **event_kw(side_by_side=True)
    )
    saved.then(do.refresh, [*lists], [*lists], **event_kw())
    return MetadataPanel(file, lists, do.refresh)


def _build_form(do: Handlers, words: Words, message: gr.HTML) -> _Form:
    def box(name: str) -> gr.Textbox:
        more = {"lines": 3, "max_lines": 20} if name in ("description", "notes") else {}
        ident = f"atelier_workshop_meta_{name}"
        return widget(KNOWN[name], words, info=name in EXPLAINED, value="", elem_id=ident, **more)

    with gr.Row():
        with gr.Column(scale=3):
            first = [box(name) for name in FORM[:IN_SIGHT]]
        with gr.Column(scale=1, min_width=220):
            cover = gr.Image(
                label=words.said(KNOWN["cover"].label), height=240, interactive=False, elem_id="atelier_workshop_cover"
            )
            drop = compat.picture_input(
                label=words("workshop.new_cover"), height=100, elem_id="atelier_workshop_cover_drop"
            )
            remove = gr.Button(
                words.said(KNOWN["remove_cover"].label), size="sm", elem_id="atelier_workshop_cover_remove"
            )
    new_cover = gr.State(SAME)
    drop.upload(do.new_cover, [drop], [cover, new_cover, drop, message], **event_kw())
    remove.click(lambda: (None, DROPPED), None, [cover, new_cover], **event_kw())
    with gr.Accordion(words("workshop.more"), open=False):
        rest = [box(name) for name in FORM[IN_SIGHT:]]
    private = gr.HTML()
    drop_private = widget(KNOWN["remove_private"], words, info=False, elem_id="atelier_workshop_drop_private")
    return _Form((*first, *rest), cover, new_cover, drop_private, private)


def _build_more(do: Handlers, words: Words, file: gr.Dropdown) -> tuple[Any, Any]:
    """Build hashes, comparison and the raw view; returns the other file's list and the raw view."""
    with gr.Accordion(words("workshop.hashes"), open=False):
        with gr.Row():
            check = gr.Button(words("workshop.check_hashes"), elem_id="atelier_workshop_check_hashes")
            stop = work.cancel_button(do.atelier, words, "atelier_workshop_hash_stop", kind=HASH)
        said, found = gr.HTML(), gr.HTML(elem_id="atelier_workshop_hashes")
    with gr.Accordion(words("workshop.compare"), open=False):
        other = compat.dropdown(file_work.names(do.atelier), value=None, label=words("workshop.compare_with"))
        differences = gr.HTML()
        with gr.Row():
            deep = gr.Button(words("workshop.compare_blocks"), elem_id="atelier_workshop_compare_blocks")
            halt = work.cancel_button(do.atelier, words, "atelier_workshop_compare_stop", kind=COMPARE)
        changed = gr.HTML(elem_id="atelier_workshop_compared")
        deep.click(do.compare_blocks, [file, other], [changed, halt], **event_kw(side_by_side=True))
    with gr.Accordion(words("workshop.raw"), open=False):
        raw = gr.Code("{}", language="json", label=words("workshop.raw"), interactive=False)
    check.click(do.hashes, [file], [said, found, stop], **event_kw(side_by_side=True))
    other.input(do.compare, [file, other], [differences], **event_kw())
    return other, raw

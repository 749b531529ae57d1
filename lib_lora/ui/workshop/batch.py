"""Many files at once: the same change for a selection, shown file by file before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.search import find_files
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.options import options_of
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import cards, label_many
from lib_lora.services import files as file_work
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import STOPPED
from lib_lora.services.labels import LabelOptions
from lib_lora.ui.compat import event_kw, gr, update
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.workshop import work
from lib_lora.ui.workshop.tables import change_table

FIELDS = ("trigger_words", "preferred_weight", "author", "source_url", "tags", "notes")
MARKS = ("cover_from_preview", "remove_private")
KNOWN = {one.name: one for one in options_of(LabelOptions)}
BATCH = "workshop batch"
"""The kind of work that it is, so that its own Cancel stops it and nothing else."""
_NOTES = 30
"""Notes of files that are shown; the others are counted."""
NO_CANCEL = update(visible=False)


def typed_entries(text: str) -> dict[str, str]:
    """Return lines of KEY=VALUE as a table.

    Raises:
        InputError: a line is none.
    """
    found = {}
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if line.strip() and not sign:
            cure = say("Write one entry a line, such as ss_clip_skip=2.")
            raise InputError("“{change}” is not key=value", change=line[:60], cure=cure)
        if line.strip():
            found[key.strip()] = value.strip()
    return found


def entries_box(words: Words, ident: str) -> Any:
    """Draw the box of other entries, a line each."""
    return gr.Textbox(
        "",
        label=words.said(KNOWN["entries"].label),
        info=words.said(KNOWN["entries"].help),
        lines=2,
        max_lines=12,
        placeholder="ss_clip_skip=2",
        elem_id=ident,
    )


def card_choice(atelier: Atelier, words: Words, ident: str) -> Any:
    """Draw the choice of what becomes of card and preview; in a WebUI, which reads them, they are made."""
    return gr.Radio(  # a Dropdown of gradio 3.41 knows no names beside its values
        [(words(f"workshop.card_{name}"), name) for name in (cards.UPDATE, cards.WRITE, cards.LEAVE)],
        value=cards.WRITE if atelier.changing_model else cards.UPDATE,
        label=words.said(KNOWN["card"].label),
        elem_id=ident,
    )


@dataclass(frozen=True)
class BatchPanel:
    """The list of files."""

    files: gr.CheckboxGroup


class Handlers:
    """The events in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words = atelier, words

    def all_files(self, search: str, chosen: list[str]) -> Any:
        """Return the list with every file chosen that the search finds, or none where all were."""
        found, _ = find_files(self.atelier.host.list_loras(), search)
        return update(choices=found, value=[] if set(chosen or []) == set(found) else found)

    def options(self, *values: Any) -> LabelOptions:
        """Return what is to change: fields with a text in them, fields to empty, entries, card, and the marks."""
        texts, (empty, entries, card, *marks) = values[: len(FIELDS)], values[len(FIELDS) :]
        fields = {name: text for name, text in zip(FIELDS, texts, strict=True) if text.strip()}
        both = [name for name in empty or [] if name in fields]
        if both:
            cure = say("Leave the field empty, or do not empty it.")
            raise InputError("A field is to be filled and emptied", where=both[0], cure=cure)
        fields |= dict.fromkeys(empty or [], "")
        given = dict(zip(MARKS, marks, strict=True))
        options = LabelOptions(**fields, entries=typed_entries(entries), card=card, **given)
        options.check()
        return options

    def paths(self, chosen: list[str]) -> dict[str, Path]:
        """Return the chosen files."""
        if not chosen:
            raise InputError("No file is selected", cure="Tick the files to change.")
        found = {name: file_work.file_of(self.atelier, name) for name in chosen}
        for path in found.values():
            file_work.check_own(self.atelier, path)
        return found

    def preview(self, chosen: list[str], *values: Any) -> Iterator[tuple[str, str, Any, Any]]:
        """Read what would change in each file; yields (message, table, Cancel, what was previewed)."""
        try:
            order, paths = self.options(*values).order(), self.paths(chosen)
        except AtelierError as error:
            yield error_html(error, self.words), "", NO_CANCEL, None
            return

        def look(progress: Progress) -> Any:
            return label_many.plan_many(paths, order, progress)

        job = file_work.submit(self.atelier, self.words("workshop.batch"), look, kind=BATCH)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended), None
        if job.result is None:
            return
        planned, failed = job.result
        changes = {name: one.all_changes for name, one in planned.items()}
        count = sum(map(bool, changes.values()))
        note = note_html(self.words("workshop.batch_will", n=count, all=len(paths)))
        note += self.notes({name: one.notes for name, one in planned.items()}) + self.errors(failed)
        yield note, change_table(changes, self.words), NO_CANCEL, (chosen, values)

    def save(self, seen: Any, chosen: list[str], *values: Any) -> Iterator[tuple[str, str, Any, Any]]:
        """Write what was previewed into the files, each with a backup; yields as `preview` does."""
        try:
            order, paths = self.options(*values).order(), self.paths(chosen)
            if seen is None or [*seen] != [chosen, values] and [*seen] != [chosen, [*values]]:
                raise InputError("This was not previewed", cure="Press “Preview” first: it shows what would change.")
        except AtelierError as error:
            yield error_html(error, self.words), "", NO_CANCEL, seen
            return

        def write(progress: Progress) -> Any:
            return label_many.write_many(paths, order, progress)

        job = file_work.submit(self.atelier, self.words("workshop.batch"), write, kind=BATCH)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended), seen
        if job.result is not None:
            written, failed = job.result
            key = "workshop.batch_stopped" if job.state == STOPPED else "workshop.batch_done"
            note = note_html(self.words(key, n=len(written)), kind="good")
            note += self.notes({name: made.notes for name, made in written.items()}) + self.errors(failed)
            changes = change_table({name: made.changes for name, made in written.items()}, self.words)
            yield note, changes, NO_CANCEL, None

    def notes(self, found: dict[str, Any]) -> str:
        """Return what is to be said of cards and preview pictures, the first of many."""
        told = [sentence_in_words(note, self.words.language) for notes in found.values() for note in notes]
        return self._few([note_html(text, kind="warning") for text in told])

    def errors(self, failed: list[AtelierError]) -> str:
        """Return what kept files from their change, the first of many."""
        return self._few([error_html(error, self.words) for error in failed])

    def _few(self, messages: list[str]) -> str:
        more = len(messages) - _NOTES
        rest = note_html(self.words("workshop.batch_more", n=more)) if more > 0 else ""
        return "".join(messages[:_NOTES]) + rest


def build(atelier: Atelier, words: Words, search: Any) -> BatchPanel:
    """Build the accordion; ``search`` is the box above that files are found with."""
    do = Handlers(atelier, words)
    with gr.Accordion(words("workshop.batch"), open=False, elem_id="atelier_workshop_batch"):
        files = gr.CheckboxGroup(
            file_work.names(atelier), value=[], label=words("workshop.batch_files"), elem_classes=["atelier-many-files"]
        )
        every = gr.Button(words("workshop.batch_all"), size="sm", elem_id="atelier_workshop_batch_all")
        fields = []
        for start in range(0, len(FIELDS), 2):
            with gr.Row():
                fields += [_field(words, name) for name in FIELDS[start : start + 2]]
        choices = [(words.said(KNOWN[name].label), name) for name in FIELDS]
        empty = gr.CheckboxGroup(choices, value=[], label=words("workshop.batch_remove"))
        entries = entries_box(words, "atelier_workshop_batch_entries")
        card = card_choice(atelier, words, "atelier_workshop_batch_card")
        marks = [widget(KNOWN[name], words, info=False) for name in MARKS]
        with gr.Row():
            preview = gr.Button(words("workshop.preview_changes"), elem_id="atelier_workshop_batch_preview")
            save = gr.Button(words("workshop.batch_save"), variant="primary", elem_id="atelier_workshop_batch_save")
            stop = work.cancel_button(atelier, words, "atelier_workshop_batch_stop", kind=BATCH)
        message, changes = gr.HTML(elem_id="atelier_workshop_batch_message"), gr.HTML(elem_classes=["atelier-long"])
    seen = gr.State(None)
    every.click(do.all_files, [search, files], [files], **event_kw())
    values = [files, *fields, empty, entries, card, *marks]
    shown = [message, changes, stop, seen]
    preview.click(do.preview, values, shown, **event_kw(side_by_side=True))
    save.click(do.save, [seen, *values], shown, **event_kw(side_by_side=True))
    return BatchPanel(files)


def _field(words: Words, name: str) -> Any:
    ident = f"atelier_workshop_batch_{name}"
    return widget(KNOWN[name], words, info=False, placeholder=words("workshop.batch_empty"), elem_id=ident)

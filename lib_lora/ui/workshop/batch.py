"""Many files at once: the same fields for a selection, shown before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError
from lib_lora.formats.editing import Edit, plan
from lib_lora.i18n.words import Words
from lib_lora.options import options_of
from lib_lora.services import files as file_work
from lib_lora.services import labels
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import STOPPED
from lib_lora.services.labels import LabelOptions
from lib_lora.ui.compat import event_kw, gr, update
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.workshop import work
from lib_lora.ui.workshop.tables import change_table

FIELDS = ("author", "source_url", "tags", "notes")
KNOWN = {one.name: one for one in options_of(LabelOptions)}
BATCH = "workshop batch"
"""The kind of work that it is, so that its own Cancel stops it and nothing else."""


@dataclass(frozen=True)
class BatchPanel:
    """The list of files."""

    files: gr.CheckboxGroup


class Handlers:
    """The events in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words = atelier, words

    def all_files(self, chosen: list[str]) -> Any:
        """Return the list with every file chosen, or none where all were."""
        found = file_work.names(self.atelier)
        return update(choices=found, value=[] if set(chosen or []) == set(found) else found)

    def edit(self, *values: Any) -> Edit:
        """Return what is to change: fields with a text in them, and the private traces."""
        fields = {name: text for name, text in zip(FIELDS, values[:-1], strict=True) if text.strip()}
        options = LabelOptions(**fields, remove_private=values[-1])
        options.check()
        return options.edit()

    def paths(self, chosen: list[str]) -> dict[str, Path]:
        """Return the chosen files."""
        if not chosen:
            raise InputError("No file is selected", cure="Tick the files to change.")
        found = {name: file_work.file_of(self.atelier, name) for name in chosen}
        for path in found.values():
            file_work.check_own(self.atelier, path)
        return found

    def preview(self, chosen: list[str], *values: Any) -> tuple[str, str]:
        """Return a message and the table of all changes."""

        def read() -> dict[str, Any]:
            edit = self.edit(*values)
            return {name: plan(path, edit) for name, path in self.paths(chosen).items()}

        found, message = work.tried(self.words, read)
        if found is None:
            return message, ""
        count = sum(bool(changes) for changes in found.values())
        return note_html(self.words("workshop.batch_will", n=count, all=len(found))), change_table(found, self.words)

    def save(self, chosen: list[str], *values: Any) -> Iterator[tuple[str, str, Any]]:
        """Write the changes into the files, each with a backup; yields (message, table, Cancel)."""
        prepared, message = work.tried(self.words, lambda: (self.edit(*values), self.paths(chosen)))
        if prepared is None:
            yield message, "", update(visible=False)
            return
        edit, paths = prepared

        work_on_them = partial(labels.write_many, paths, edit)
        job = file_work.submit(self.atelier, self.words("workshop.batch"), work_on_them, kind=BATCH)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended)
        if job.result is not None:
            written, failed = job.result
            key = "workshop.batch_stopped" if job.state == STOPPED else "workshop.batch_done"
            note = note_html(self.words(key, n=len(written)), kind="good")
            note += "".join(error_html(error, self.words) for error in failed)
            yield (
                note,
                change_table({name: made.changes for name, made in written.items()}, self.words),
                update(visible=False),
            )


def build(atelier: Atelier, words: Words) -> BatchPanel:
    """Build the accordion."""
    do = Handlers(atelier, words)
    with gr.Accordion(words("workshop.batch"), open=False):
        files = gr.CheckboxGroup(file_work.names(atelier), value=[], label=words("workshop.batch_files"))
        every = gr.Button(words("workshop.batch_all"), size="sm")
        fields = [widget(KNOWN[name], words, info=False, placeholder=words("workshop.batch_empty")) for name in FIELDS]
        private = widget(KNOWN["remove_private"], words, info=False)
        with gr.Row():
            preview = gr.Button(words("workshop.preview_changes"), elem_id="atelier_workshop_batch_preview")
            save = gr.Button(words("workshop.batch_save"), variant="primary", elem_id="atelier_workshop_batch_save")
            stop = work.cancel_button(atelier, words, "atelier_workshop_batch_stop", kind=BATCH)
        message, changes = gr.HTML(elem_id="atelier_workshop_batch_message"), gr.HTML()
    every.click(do.all_files, [files], [files], **event_kw())
    values = [files, *fields, private]
    preview.click(do.preview, values, [message, changes], **event_kw())
    save.click(do.save, values, [message, changes, stop], **event_kw(side_by_side=True))
    return BatchPanel(files)

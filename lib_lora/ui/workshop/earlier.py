"""Earlier states of a file: what they said, and the way back to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.error_words import sentence_of
from lib_lora.i18n.words import Words
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import files as file_work
from lib_lora.services import labels
from lib_lora.services.atelier import Atelier
from lib_lora.ui.compat import event_kw, gr
from lib_lora.ui.messages import error_html, errors_html, note_html
from lib_lora.ui.workshop import work
from lib_lora.ui.workshop.tables import change_table

UNDO = "workshop undo"


@dataclass(frozen=True)
class EarlierPanel:
    """The events after which a file may say something else."""

    undone: tuple[Any, ...]


class Handlers:
    """The events in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words = atelier, words

    def look(self, name: str | None) -> tuple[str, str]:
        """Return a message and the table of what each way back would change."""
        message, found = "", {}
        for key, original in (("undo_last", False), ("undo_original", True)):
            try:
                found[self.words(f"workshop.{key}")] = labels.plan_undo(
                    file_work.file_of(self.atelier, name), original=original
                )
            except InputError as error:
                message = note_html(sentence_of(error, self.words.language))
            except AtelierError as error:
                message = error_html(error, self.words)
        if not found:
            return message, ""
        table = change_table(found, self.words)
        return "" if table else note_html(self.words("workshop.no_change")), table

    def last(self, name: str | None) -> Iterator[tuple[str, str]]:
        """Bring the last state back."""
        yield from self.undo(name, original=False)

    def first(self, name: str | None) -> Iterator[tuple[str, str]]:
        """Bring back what the file was before its first edit."""
        yield from self.undo(name, original=True)

    def undo(self, name: str | None, *, original: bool) -> Iterator[tuple[str, str]]:
        """Bring an earlier state back; yields (message, table)."""
        try:
            path = file_work.file_of(self.atelier, name)
            file_work.check_own(self.atelier, path)
            labels.plan_undo(path, original=original)
        except AtelierError as error:
            yield error_html(error, self.words), ""
            return

        def bring(progress: Progress) -> labels.Labeled:
            progress.passed(0, 1, say("saving"))
            return labels.undo(path, original=original)

        job = file_work.submit(self.atelier, str(name), bring, kind=UNDO)
        for html in work.shown(self.atelier, self.words, job):
            yield html, ""
        if job.result is not None:
            made: labels.Labeled = job.result
            text = self.words("workshop.undone", path=str(made.path), backup=made.backup.name if made.backup else "–")
            told = errors_html(made.failed, self.words)
            yield note_html(text, kind="good") + told, change_table({made.path.stem: made.changes}, self.words)


def build(atelier: Atelier, words: Words, file: Any) -> EarlierPanel:
    """Build the accordion."""
    do = Handlers(atelier, words)
    with gr.Accordion(words("workshop.earlier"), open=False, elem_id="atelier_workshop_earlier"):
        with gr.Row():
            look = gr.Button(words("workshop.undo_look"), elem_id="atelier_workshop_undo_look")
            last = gr.Button(words("workshop.undo_last"), elem_id="atelier_workshop_undo_last")
            first = gr.Button(words("workshop.undo_original"), elem_id="atelier_workshop_undo_original")
        message, changes = gr.HTML(elem_id="atelier_workshop_undo_message"), gr.HTML()
    seen = [message, changes]
    look.click(do.look, [file], seen, **event_kw())
    file.change(lambda: ("", ""), None, seen, **event_kw())
    ways = ((last, do.last), (first, do.first))
    return EarlierPanel(tuple(one.click(bring, [file], seen, **event_kw(side_by_side=True)) for one, bring in ways))

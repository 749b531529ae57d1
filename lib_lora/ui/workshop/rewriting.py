"""Other forms and parts: a file in another program's names, without some of its modules, or as several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError, FileError
from lib_lora.i18n.words import Words
from lib_lora.options import find
from lib_lora.progress import Progress
from lib_lora.services import conversion, portions
from lib_lora.services import files as file_work
from lib_lora.services.atelier import Atelier
from lib_lora.services.conversion import ConvertOptions
from lib_lora.services.portions import PruneOptions, SplitOptions
from lib_lora.ui import compat
from lib_lora.ui.compat import event_kw, gr, update
from lib_lora.ui.messages import error_html, note_html, notes_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.workshop import work
from lib_lora.ui.workshop.merge_choices import PRECISIONS, Choices
from lib_lora.ui.workshop.tables import error_text, megabytes, table

WORKS = ("convert", "prune", "split")
KIND = "workshop rewrite"
"""The kind of this work, so that its Cancel stops nothing else."""


@dataclass(frozen=True)
class RewritePanel:
    """The widget that lists LoRAs, and what renews it."""

    file: gr.Dropdown
    lists: tuple[Any, ...]
    refresh: Any


class Handlers:
    """The events of the part in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words, self.choices = atelier, words, Choices(words)

    def refresh(self, name: str | None) -> list[Any]:
        """Return the list as it is now."""
        return [work.choices(self.atelier, name)]

    def save(self, name: str | None, what: str, typed: str, replace: bool, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Do the work and write what it gives; yields (message, table, Cancel, replace box)."""
        idle = update(visible=False)
        try:
            path = file_work.file_of(self.atelier, name)
            title, order = self._order(path, what, typed, replace, values)
        except AtelierError as error:
            yield error_html(error, self.words), "", idle, update(visible=isinstance(error, FileError))
            return
        job = file_work.submit(self.atelier, title, order, kind=KIND)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended), update()
        if job.error is not None and isinstance(job.error, FileError):
            yield error_html(job.error, self.words), "", idle, update(visible=True)
        elif job.result is not None:
            yield *job.result, idle, update(visible=False, value=False)

    def _order(self, path: Path, what: str, typed: str, replace: bool, values: tuple[Any, ...]) -> tuple[str, Any]:
        to, precision, text, blocks, zero, by, groups = values
        taken = file_work.names(self.atelier)
        if what == "convert":
            options = ConvertOptions(to, self.choices.precision(precision))
            target = self.atelier.folders.lora(typed or conversion.proposed_name(path, options, taken=taken))
            conversion.check(path, options, target, overwrite=replace)
            return target.stem, lambda progress: self._convert(path, options, target, replace, progress)
        if what == "prune":
            pruned = PruneOptions(text_encoders=text, blocks=blocks, zero=zero)
            target = self.atelier.folders.lora(typed or portions.proposed_name(path, taken=taken))
            portions.check(path, target, overwrite=replace)
            return target.stem, lambda progress: self._prune(path, pruned, target, replace, progress)
        parts = SplitOptions(by, groups)
        stem = self.atelier.folders.lora(typed).stem if typed else path.stem
        return stem, lambda progress: self._split(path, parts, stem, replace, progress)

    def _saved(self, path: Path, notes: Any) -> str:
        text = self.words("workshop.saved", path=str(path), size=megabytes(path.stat().st_size))
        return note_html(text, kind="good") + notes_html(notes, self.words)

    def _convert(
        self, path: Path, options: ConvertOptions, target: Path, replace: bool, progress: Progress
    ) -> tuple[str, str]:
        made, saved = conversion.write(path, options, target, overwrite=replace, progress=progress)
        cost = self.words("workshop.rounding", error=error_text(made.largest))
        return self._saved(saved, made.notes), f'<p class="atelier-sum">{escape(cost)}</p>'

    def _prune(
        self, path: Path, options: PruneOptions, target: Path, replace: bool, progress: Progress
    ) -> tuple[str, str]:
        made = portions.prune(path, options, target, overwrite=replace, progress=progress)
        text = self.words("workshop.pruned", gone=sum(made.gone.values()), left=made.modules)
        return self._saved(made.path, made.notes), f'<p class="atelier-sum">{escape(text)}</p>'

    def _split(
        self, path: Path, options: SplitOptions, stem: str, replace: bool, progress: Progress
    ) -> tuple[str, str]:
        folder = self.atelier.folders.loras
        pieces, notes = portions.split(path, options, folder, stem=stem, overwrite=replace, progress=progress)
        done = note_html(self.words("workshop.split_done", n=len(pieces), folder=str(folder)), kind="good")
        head = [self.words(f"workshop.head_{name}") for name in ("file", "modules", "block")]
        rows = [[escape(one.path.stem), str(sum(one.blocks.values())), escape(", ".join(one.blocks))] for one in pieces]
        return done + notes_html(notes, self.words), table(head, rows)


def build(atelier: Atelier, words: Words) -> RewritePanel:
    """Build the part: the file, what is done with it, its few choices, and a name."""
    do = Handlers(atelier, words)
    with gr.Accordion(words("workshop.rewrite"), open=False, elem_id="atelier_workshop_rewrite"):
        with gr.Row():
            file = compat.dropdown(
                file_work.names(atelier),
                value=None,
                label=words("workshop.file"),
                elem_id="atelier_workshop_rewrite_file",
            )
            what = gr.Radio(
                [(words(f"workshop.rewrite_{one}"), one) for one in WORKS],
                value=WORKS[0],
                label=words("workshop.rewrite_what"),
                elem_id="atelier_workshop_rewrite_what",
            )
        groups, values = _build_choices(words)
        with gr.Row():
            name = work.line(words("workshop.name"), "rewrite_name", info=words("workshop.rewrite_name_info"), scale=4)
            save = gr.Button(words("workshop.save"), variant="primary", elem_id="atelier_workshop_rewrite_save")
            stop = work.cancel_button(atelier, words, "atelier_workshop_rewrite_stop", kind=KIND)
        replace = gr.Checkbox(False, label=words("workshop.replace"), visible=False)
        message = gr.HTML(elem_id="atelier_workshop_rewrite_message")
        result = gr.HTML(elem_id="atelier_workshop_rewrite_result")
    what.change(lambda one: [update(visible=one == each) for each in WORKS], [what], groups, **event_kw())
    done = save.click(
        do.save,
        [file, what, name, replace, *values],
        [message, result, stop, replace],
        **event_kw(side_by_side=True),
    )
    done.then(lambda one: work.choices(atelier, one), [file], [file], **event_kw())
    return RewritePanel(file, (file,), do.refresh)


def _build_choices(words: Words) -> tuple[list[Any], list[Any]]:
    """Return a row for each work, and the widgets in the order of `Handlers._order`."""

    def one(holder: type, name: str, **more: Any) -> Any:
        return widget(find(holder, name), words, elem_id=f"atelier_workshop_rewrite_{name}", **more)

    with gr.Row() as convert:
        to = one(ConvertOptions, "to")
        precision = Choices(words).dropdown(
            "precision", PRECISIONS, find(ConvertOptions, "precision"), "rewrite_precision"
        )
    with gr.Row(visible=False) as prune:
        text, zero = one(PruneOptions, "text_encoders", info=False), one(PruneOptions, "zero", info=False)
        blocks = one(PruneOptions, "blocks")
    with gr.Row(visible=False) as split:
        by, named = one(SplitOptions, "by"), one(SplitOptions, "groups")
    return [convert, prune, split], [to, precision, text, blocks, zero, by, named]

"""Between LoRAs and checkpoints, below the rows of Merge: write them into a checkpoint; extract one from two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from lib_lora.errors import AtelierError, FileError
from lib_lora.i18n.words import Words
from lib_lora.merge.extract_spec import DEFAULT_RULE, ExtractOptions, ExtractSpec
from lib_lora.options import find
from lib_lora.progress import Progress
from lib_lora.services import checkpoints, extract, into_checkpoint
from lib_lora.services import files as file_work
from lib_lora.services.atelier import Atelier
from lib_lora.services.into_checkpoint import IntoSpec
from lib_lora.ui.compat import dropdown, event_kw, gr, update, with_many
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.workshop import rows as table
from lib_lora.ui.workshop import work
from lib_lora.ui.workshop.rule_choice import RuleChoice
from lib_lora.ui.workshop.tables import made_table, megabytes, report_table

RULE_PARTS = 4
"""Widgets of a rule."""
SWITCHES = ("text", "norms", "precision")
PREDICTIONS = ("auto", *find(ExtractOptions, "prediction").choices)
Shown = tuple[Any, ...]


@dataclass(frozen=True)
class CheckpointPanel:
    """What the tab of Merge needs: the lists of checkpoints with their refresh, and the end of an extraction."""

    lists: tuple[Any, ...]
    refresh: Any
    extracted: Any


class Handlers:
    """The events in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words, self.rules = atelier, words, RuleChoice(words, DEFAULT_RULE, "extract_rule")

    def refresh(self, *values: Any) -> list[Any]:
        """Return the lists of checkpoints as they are now."""
        names = list(checkpoints.listed(self.atelier))
        return [work.listed(names, value) for value in values]

    def into(self, checkpoint: str, name: str, replace: bool, *flat: Any) -> Iterator[Shown]:
        """Write the rows' LoRAs into a copy of a checkpoint; yields (message, table, cancel, replace box)."""
        try:
            order = IntoSpec(checkpoints.file_of(self.atelier, checkpoint), table.ingredients(self.atelier, flat))
            taken = list(checkpoints.listed(self.atelier))
            target = checkpoints.new_file(
                self.atelier, name.strip() or into_checkpoint.proposed_name(order, taken=taken)
            )
            into_checkpoint.check(order, target, overwrite=replace)
        except AtelierError as error:
            yield self._refused(error)
            return
        presets = self.atelier.host.presets

        def write(progress: Progress) -> Any:
            return into_checkpoint.write(order, target, presets, overwrite=replace, progress=progress)

        job = file_work.submit(self.atelier, target.stem, write)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended), update()
        if job.result is not None:
            written = job.result
            saved = self._saved("saved_checkpoint", written.path, written.report.bytes_after)
            digest = f"<p>SHA-256 <code>{escape(written.sha256)}</code></p>"
            lost = [escape(key) for keys in written.plan.unmatched.values() for key in keys]
            names = self.words("workshop.fits_nothing", n=len(lost))
            listed = f"<details><summary>{escape(names)}</summary>{'<br>'.join(lost)}</details>" if lost else ""
            report = report_table(written.report, written.plan.notes, self.words)
            yield saved, digest + report + listed, update(visible=False), update(visible=False, value=False)

    def extract(self, tuned: str, original: str, name: str, replace: bool, *values: Any) -> Iterator[Shown]:
        """Extract a LoRA from two checkpoints; yields (message, table, cancel, replace box)."""
        try:
            order = self.order(tuned, original, *values)
            stem = name.strip() or extract.proposed_name(order, taken=tuple(file_work.names(self.atelier)))
            target = self.atelier.folders.lora(stem)
            extract.check(order, target, overwrite=replace)
        except AtelierError as error:
            yield self._refused(error)
            return

        def write(progress: Progress) -> Any:
            return extract.write(order, target, overwrite=replace, progress=progress)

        job = file_work.submit(self.atelier, target.stem, write)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended), update()
        if job.result is not None:
            made, path = job.result
            done = update(visible=False), update(visible=False, value=False)
            yield self._saved("saved", path, path.stat().st_size), made_table(made, self.words), *done

    def order(self, tuned: str, original: str, *values: Any) -> ExtractSpec:
        """Return what the fields say.

        Raises:
            InputError: one of them cannot be right.
        """
        conv, text, norms, precision, prediction = values[RULE_PARTS:]
        said: Any = next((key for key in PREDICTIONS if self.prediction(key) == prediction), PREDICTIONS[0])
        return ExtractSpec(
            tuned=checkpoints.file_of(self.atelier, tuned),
            original=checkpoints.file_of(self.atelier, original),
            rule=self.rules.read(*values[:RULE_PARTS]),
            conv_rank=find(ExtractOptions, "conv_rank").parse(conv.strip()) if conv.strip() else None,
            text=text,
            norms=norms,
            precision=precision,
            prediction=None if said == "auto" else said,
        )

    def prediction(self, key: str) -> str:
        """Return how a kind of prediction is called in the list."""
        return self.words("workshop.prediction_auto") if key == "auto" else key

    def _refused(self, error: AtelierError) -> Shown:
        taken = isinstance(error, FileError) and error.option == "overwrite"
        return error_html(error, self.words), "", update(visible=False), update(visible=taken)

    def _saved(self, text: str, path: Any, size: int) -> str:
        return note_html(self.words(f"workshop.{text}", path=str(path), size=megabytes(size)), kind="good")


def build(atelier: Atelier, words: Words, rows: table.Rows) -> CheckpointPanel:
    """Build both parts, closed; ``rows`` are those of Merge, which the first part reads."""
    do, names = Handlers(atelier, words), list(checkpoints.listed(atelier))
    into = _build_into(do, words, names, rows)
    tuned, original, extracted = _build_extract(do, words, names)
    return CheckpointPanel((into, tuned, original), do.refresh, extracted)


def _choice(words: Words, names: list[str], name: str, *, info: bool = True) -> Any:
    more = {"info": words(f"workshop.{name}_info")} if info else {}
    return dropdown(names, value=None, label=words(f"workshop.{name}"), elem_id=f"atelier_workshop_{name}", **more)


def _build_end(do: Handlers, words: Words, part: str) -> tuple[Any, ...]:
    """Build what ends a part; return name, replace box, button, cancel, message and report."""
    with gr.Row():
        name = work.line(words("workshop.copy_name"), f"{part}_name", info=words("workshop.empty_name"), scale=3)
        save = gr.Button(
            words(f"workshop.{part}_save"),
            variant="primary",
            scale=1,
            min_width=200,
            elem_id=f"atelier_workshop_{part}",
        )
        stop = work.cancel_button(do.atelier, words, f"atelier_workshop_{part}_cancel")
    replace = gr.Checkbox(False, label=words("workshop.replace"), visible=False)
    message = gr.HTML(elem_id=f"atelier_workshop_{part}_message")
    return name, replace, save, stop, message, gr.HTML(elem_id=f"atelier_workshop_{part}_report")


def _build_into(do: Handlers, words: Words, names: list[str], rows: table.Rows) -> Any:
    with gr.Accordion(words("workshop.into"), open=False, elem_id="atelier_workshop_into_part"):
        checkpoint = _choice(words, names, "checkpoint")
        name, replace, save, stop, message, report = _build_end(do, words, "into")
    with_many(
        save.click,
        do.into,
        [checkpoint, name, replace, *rows.inputs],
        [message, report, stop, replace],
        **event_kw(side_by_side=True),
    )
    return checkpoint


def _build_extract(do: Handlers, words: Words, names: list[str]) -> tuple[Any, Any, Any]:
    with gr.Accordion(words("workshop.extract_part"), open=False, elem_id="atelier_workshop_extract_part"):
        with gr.Row():
            tuned, original = (_choice(words, names, name) for name in ("tuned", "original"))
        with gr.Row():
            rule = do.rules.build()
        with gr.Accordion(words("workshop.extract_more"), open=False):
            more = _build_more(do, words)
        name, replace, save, stop, message, report = _build_end(do, words, "extract")
    do.rules.connect(*rule[:2])
    extracted = save.click(
        do.extract,
        [tuned, original, name, replace, *rule, *more],
        [message, report, stop, replace],
        **event_kw(side_by_side=True),
    )
    return tuned, original, extracted


def _build_more(do: Handlers, words: Words) -> list[Any]:
    """Build what is seldom changed, in the order of `Handlers.order`."""
    with gr.Row():
        one = find(ExtractOptions, "conv_rank")
        found = [gr.Textbox("", label=words.said(one.label), info=words.said(one.help), max_lines=1)]
        found += [widget(find(ExtractOptions, name), words) for name in SWITCHES]
        one = find(ExtractOptions, "prediction")
        labels = [do.prediction(key) for key in PREDICTIONS]
        found.append(gr.Dropdown(labels, value=labels[0], label=words.said(one.label), info=words.said(one.help)))
    return found

"""Merge: rows of LoRAs become a new file, baked, added, compressed; the numbers first, the file after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.blocks.tag_resolve import format_tag
from lib_lora.errors import AtelierError, FileError
from lib_lora.i18n.words import Words
from lib_lora.merge.spec import MergeSpec, proposed_name
from lib_lora.progress import Progress
from lib_lora.services import files as file_work
from lib_lora.services import merge
from lib_lora.services.atelier import Atelier
from lib_lora.services.file_facts import lora_path
from lib_lora.services.ingredients import rows_of_prompt
from lib_lora.ui.compat import COPYABLE, HIDDEN, event_kw, gr, nudge, update, with_many
from lib_lora.ui.messages import error_html, note_html, notes_html
from lib_lora.ui.workshop import checkpoints, work
from lib_lora.ui.workshop import rows as table
from lib_lora.ui.workshop.merge_choices import COUNT, Choices, Widgets
from lib_lora.ui.workshop.tables import made_table, megabytes


@dataclass(frozen=True)
class MergePanel:
    """What the other tabs and the app use; ``file`` is the first row's; a nudge of ``moved`` proposes a name."""

    prompt: gr.Textbox
    use: tuple[Any, gr.Textbox]
    lists: tuple[Any, ...]
    refresh: Any
    receives: list[Any]
    only_row: Any
    unchanged: tuple[Any, ...]
    file: gr.Dropdown
    moved: gr.Textbox


class Handlers:
    """The events of the tab in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self.atelier, self.words, self.choices = atelier, words, Choices(words)

    def refresh(self, *values: Any) -> list[Any]:
        """Return the lists of all rows as they are now."""
        presets = file_work.presets(self.atelier)
        found = []
        for lora, blocks in zip(values[::2], values[1::2], strict=True):
            emptied = {} if blocks else {"value": table.KNOWN["blocks"].default}  # any text may stand there
            found += [work.choices(self.atelier, lora), update(choices=presets, **emptied)]
        return found

    def order(self, *values: Any) -> MergeSpec:
        """Return the order that rows and choices say."""
        flat, chosen = values[:-COUNT], values[-COUNT:]
        rule, precision, method = self.choices.read(chosen)
        return MergeSpec(table.ingredients(self.atelier, flat), rule, precision, method)

    def propose(self, name: str, last: str, *values: Any) -> tuple[str, str]:
        """Return the name and the newest proposal; a name that a person typed stays."""
        try:
            fresh = proposed_name(self.order(*values), taken=file_work.names(self.atelier))
        except AtelierError:  # the rows are not complete yet; Preview and Save say what is wrong
            fresh = ""
        return (fresh if not name.strip() or name == last else name), fresh

    def preview(self, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Make the file in memory and show its numbers; yields (message, table, cancel button)."""
        order, message = work.tried(self.words, lambda: self.order(*values))
        if order is None:
            yield message, "", update(visible=False)
            return
        presets, model = self.atelier.host.presets, self.atelier.host.model
        job = file_work.submit(
            self.atelier,
            self._title(values),
            lambda progress: merge.preview(order, presets, model=model, progress=progress),
        )
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended)
        if job.result is not None:
            note = note_html(self.words("workshop.previewed"))
            yield note, made_table(job.result, self.words), update(visible=False)

    def save(self, name: str, replace: bool, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Make the file and write it; yields (message, table, cancel, replace box, use button, its name)."""
        keep, idle = (update(), update(visible=False), ""), update(visible=False)
        try:
            order = self.order(*values)
            target = self.atelier.folders.lora(name)
            merge.check(order, target, overwrite=replace)
        except AtelierError as error:
            yield error_html(error, self.words), "", idle, update(visible=isinstance(error, FileError)), *keep[1:]
            return

        host = self.atelier.host

        def write(progress: Progress) -> Any:
            return merge.write(order, target, host.presets, model=host.model, overwrite=replace, progress=progress)

        job = file_work.submit(self.atelier, target.stem, write)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended), *keep
        if job.result is not None:
            made, path = job.result
            size = megabytes(path.stat().st_size)
            note = note_html(self.words("workshop.saved", path=str(path), size=size), kind="good")
            done = (update(visible=False, value=False), update(visible=True), path.stem)
            yield note, made_table(made, self.words), idle, *done

    def save_each(self, prompt: str) -> Iterator[tuple[Any, ...]]:
        """Write a file for every tag of a prompt as it stands; yields (message, cancel button)."""
        host, folder, idle = self.atelier.host, self.atelier.folders.loras, update(visible=False)

        def asked() -> tuple[MergeSpec, list[str], list[str]]:
            written = rows_of_prompt(prompt or "", partial(lora_path, self.atelier), host.presets)
            order = MergeSpec(tuple(one.row for one in written))
            names = [target.stem for _, target in merge.one_by_one(order, folder, overwrite=False)]
            return order, names, [note for one in written for note in one.notes]

        found, message = work.tried(self.words, asked)
        if found is None:
            yield message, idle
            return
        order, names, notes = found
        job = file_work.submit(
            self.atelier,
            names[0],
            lambda progress: merge.write_each(order, folder, host.presets, model=host.model, progress=progress),
        )
        for html in work.shown(self.atelier, self.words, job):
            yield html, update(visible=not job.ended)
        if job.result is not None:
            said = notes_html(notes, self.words, kind="warning")
            yield note_html(self.words("workshop.each_saved", names=", ".join(names)), kind="good") + said, idle

    def _title(self, values: Sequence[Any]) -> str:
        return " + ".join(table.row_text(row) for row in table.used_rows(values[:-COUNT]))

    def from_prompt(self, prompt: str) -> list[Any]:
        """Return the rows of a prompt's tags, and a message."""
        found, message = work.tried(self.words, lambda: table.rows_of_prompt(self.atelier, prompt or ""))
        if found is None:
            return [*[update()] * len(table.shown_rows([])), message]
        rows, lost = found
        note = note_html(self.words("workshop.from_prompt_done", n=len(rows)), kind="good")
        if lost:
            note = note_html(self.words("workshop.not_baked", what="; ".join(lost)), kind="warning")
        return [*table.shown_rows(rows), note]

    def add_row(self, *flat: Any) -> list[Any]:
        """Return the rows with an empty one behind the last that is in use."""
        used = table.used_rows(flat)
        return table.shown_rows([*used, table.EMPTY][: table.MOST])

    def remove_row(self, index: int, *flat: Any) -> list[Any]:
        """Return the rows without one; those behind it move up."""
        rows = table.split(flat)
        return table.shown_rows([row for place, row in enumerate(rows) if place != index and row[0]])

    def only_row(self, name: str, vector: str) -> list[Any]:
        """Return the table with one LoRA and its block weights."""
        return table.shown_rows([table.row_of(name, vector)])

    def tag(self, saved: str) -> tuple[Any, str]:
        """Return the tag box for the file that was saved last, and a message."""
        tag, message = work.tried(self.words, lambda: format_tag(ResolvedTag(saved)))
        if tag is None:
            return update(value="", visible=False), message
        return update(value=tag, visible=True), note_html(self.words("workshop.tag_ready"), kind="good")


@dataclass(frozen=True)
class _Widgets:
    """Everything below the rows."""

    choices: Widgets
    name: gr.Textbox
    last: gr.State
    again: gr.Button
    preview: gr.Button
    save: gr.Button
    stop: gr.Button
    replace: gr.Checkbox
    message: gr.HTML
    report: gr.HTML
    use: gr.Button
    tag: gr.Textbox
    saved: gr.State
    moved: gr.Textbox


def build(atelier: Atelier, words: Words, *, prompt: gr.Textbox | None = None) -> MergePanel:
    """Build the tab; with ``prompt``, that of Generate, the rows can be taken from it at one click."""
    do = Handlers(atelier, words)
    with gr.Accordion(words("workshop.from_prompt"), open=False), gr.Row():
        text = gr.Textbox("", label=words("workshop.prompt"), lines=2, scale=4, elem_id="atelier_workshop_merge_prompt")
        with gr.Column(scale=1, min_width=200):
            get = gr.Button(words("workshop.get_rows"), elem_id="atelier_workshop_merge_get")
            copy = gr.Button(words("workshop.get_generate"), visible=prompt is not None)
            each = gr.Button(words("workshop.each"), elem_id="atelier_workshop_merge_each")
    rows = table.build_rows(atelier, words)
    add = gr.Button(words("workshop.add_row"), size="sm", elem_id="atelier_workshop_merge_add")
    below = _build_below(do)
    beside = checkpoints.build(atelier, words, rows)
    _wire(do, rows, below)
    beside.extracted.then(do.refresh, _lists(rows), _lists(rows), **event_kw())
    changes = [
        with_many(add.click, do.add_row, rows.inputs, rows.outputs, **event_kw()),
        get.click(do.from_prompt, [text], [*rows.outputs, below.message], **event_kw()),
    ]
    if prompt is not None:
        copied = copy.click(lambda words_of_it: words_of_it, [prompt], [text], **event_kw())
        changes.append(copied.then(do.from_prompt, [prompt], [*rows.outputs, below.message], **event_kw()))
    for index, remover in enumerate(rows.removers):
        removed = with_many(remover.click, _remover(do, index), rows.inputs, rows.outputs, **event_kw())
        changes.append(removed)
    each.click(do.save_each, [text], [below.message, below.stop], **event_kw(side_by_side=True)).then(
        do.refresh, _lists(rows), _lists(rows), **event_kw()
    )
    for change in changes:
        nudge(change.then, below.moved)
    used = below.use.click(do.tag, [below.saved], [below.tag, below.message], **event_kw())
    own = len(_lists(rows))

    def refresh(*values: Any) -> list[Any]:
        return [*do.refresh(*values[:own]), *beside.refresh(*values[own:])]

    receives = [*rows.outputs, below.name, below.last]

    def only_row(name: str, vector: str) -> list[Any]:
        # The proposal is noted as one, so that it gives way to the next one.
        values = [*table.row_of(name, vector), *(table.EMPTY * (table.MOST - 1))]
        fresh, _ = do.propose("", "", *values, *do.choices.untouched())
        return [*do.only_row(name, vector), fresh, fresh]

    unchanged = tuple(update() for _ in receives)
    used_in = (used, below.tag)
    first = rows.values[0][0]
    lists = (*_lists(rows), *beside.lists)
    return MergePanel(text, used_in, lists, refresh, receives, only_row, unchanged, first, below.moved)


def _remover(do: Handlers, index: int) -> Any:
    return lambda *flat: do.remove_row(index, *flat)


def _build_below(do: Handlers) -> _Widgets:
    words, choices = do.words, do.choices.build()
    with gr.Row():
        name = work.line(words("workshop.name"), "name", info=words("workshop.name_info"), scale=4)
        again = gr.Button(
            words("workshop.name_again"), size="sm", scale=0, min_width=150, elem_classes=["atelier-small"]
        )
    with gr.Row():
        preview = gr.Button(words("workshop.preview"), elem_id="atelier_workshop_preview")
        save = gr.Button(words("workshop.save"), variant="primary", elem_id="atelier_workshop_save")
        stop = gr.Button(words("workshop.cancel"), variant="stop", scale=0, min_width=120, visible=False)
    replace = gr.Checkbox(False, label=words("workshop.replace"), visible=False)
    message = gr.HTML(elem_id="atelier_workshop_merge_message")
    report = gr.HTML(elem_id="atelier_workshop_report")
    use = gr.Button(words("workshop.use"), visible=False, elem_id="atelier_workshop_merge_use")
    tag = gr.Textbox("", label=words("workshop.tag"), visible=False, interactive=False, **COPYABLE)
    return _Widgets(
        choices,
        name,
        gr.State(""),
        again,
        preview,
        save,
        stop,
        replace,
        message,
        report,
        use,
        tag,
        gr.State(""),
        gr.Textbox("", visible=HIDDEN, label="moved"),
    )


def _wire(do: Handlers, rows: table.Rows, below: _Widgets) -> None:
    chosen = below.choices
    every = [*rows.inputs, *below.choices.values]
    name_io = ([below.name, below.last, *every], [below.name, below.last])
    for lora, _, blocks, *_ in rows.values:  # the blocks that stood there were meant for another file
        other = lora.input(lambda: table.KNOWN["blocks"].default, None, [blocks], queue=False, **event_kw())
        nudge(other.then, below.moved)
    each = (*(w for row in rows.values for w in row[1:3]), chosen.kept, *chosen.rule[1:], chosen.precision)
    for one in each:
        nudge(one.input, below.moved)
    with_many(below.moved.change, do.propose, *name_io, queue=False, **event_kw())
    with_many(below.again.click, partial(do.propose, ""), name_io[0][1:], name_io[1], **event_kw())
    usual = do.choices.rules.connect(*chosen.rule[:2])
    shown_now = [chosen.method, chosen.method_row, *chosen.numbers]
    explained = chosen.method.input(do.choices.explained, [chosen.method], shown_now, **event_kw())
    for changed in (usual, explained):
        nudge(changed.then, below.moved)
    shown = [below.message, below.report, below.stop]
    with_many(below.preview.click, do.preview, every, shown, **event_kw(side_by_side=True))
    with_many(
        below.save.click,
        do.save,
        [below.name, below.replace, *every],
        [*shown, below.replace, below.use, below.saved],
        **event_kw(side_by_side=True),
    ).then(do.refresh, _lists(rows), _lists(rows), **event_kw())
    below.stop.click(lambda: file_work.stop(do.atelier), None, None, queue=False, **event_kw())


def _lists(rows: table.Rows) -> list[Any]:
    return [widget for row in rows.values for widget in (row[0], row[2])]

"""Metadata: what a file says about itself, changed in a form; hashes, private traces, comparison, many files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from lib_lora.analysis.file_comparison import compare_files
from lib_lora.data.images import load_picture
from lib_lora.errors import AtelierError
from lib_lora.formats.cover import read_cover, small_cover
from lib_lora.formats.editing import changes_of, hashes_of
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import describe, private_keys
from lib_lora.formats.names import proposed_stem
from lib_lora.formats.search import find_files
from lib_lora.i18n.words import Words
from lib_lora.options import without_controls
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services import cards, labels
from lib_lora.services import files as file_work
from lib_lora.services.atelier import Atelier
from lib_lora.services.labels import LabelOptions
from lib_lora.services.readme import FACTS
from lib_lora.ui import compat
from lib_lora.ui.compat import update
from lib_lora.ui.messages import error_html, errors_html, note_html, notes_html
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
"""The fields of the form in their order."""

SAVE, HASH, COMPARE = "workshop metadata", "workshop hash", "workshop compare"
"""The kinds of work, so that each one's Cancel stops it and nothing else."""
IDLE = update(visible=False)
"""What Cancel is told when there is nothing to cancel."""

SAME, DROPPED, PREVIEW = "", "dropped", "preview"
"""What the page keeps of the cover: as in the file, taken away, the preview picture's, or else a new picture's path."""


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
        """Return the form filled from a file and its card: fields, cover, other entries, private traces and more."""
        empty = [*[""] * len(FORM), None, SAME, "", "", "{}", "", update(value=cards.NEITHER, visible=False)]
        if not name:
            return [*empty, work.choose_first(self.atelier, self.words)]
        try:
            path = file_work.file_of(self.atelier, name)
            metadata = read_header(path).metadata
        except AtelierError as error:
            return [*empty, error_html(error, self.words)]
        newer, notes = cards.file_step(path, metadata)
        fields = {**describe(metadata).fields, **newer}
        raw = {key: cut_raw(value) for key, value in sorted(metadata.items())}
        copy = proposed_stem([name, "edited"], taken=file_work.names(self.atelier))
        values = [without_controls(fields[field]) for field in FORM]  # what the form hands back must be typed text
        text = json.dumps(raw, ensure_ascii=False, indent=1)
        prefer = update(value=cards.NEITHER, visible=bool(cards.conflicts(path, metadata)))
        told = self.facts(metadata) + notes_html(notes, self.words, kind="warning")
        return [*values, read_cover(metadata), SAME, "", self.private(metadata), text, copy, prefer, told]

    def facts(self, metadata: Mapping[str, str]) -> str:
        """Return what the training left in the file: a line of facts, and the tags of its captions, counted."""
        found = describe(metadata, tag_count=_TAGS)
        known = [
            f"{self.words(f'workshop.fact_{key}')}: {cut_line(readable_date(text) if key == 'date' else text)}"
            for name, key in FACTS.items()
            if (text := found.facts.get(name))
        ]
        lines = [" · ".join(known)] if known else []
        counted = [f"{cut_line(word)} ({count})" for word, count in found.triggers if count is not None]
        lines += [self.words("workshop.fact_triggers", words=", ".join(counted))] if counted else []
        tags = [f"{cut_line(tag)} ({count})" for tag, count in found.tags]
        lines += [self.words("workshop.fact_tags", tags=", ".join(tags))] if tags else []
        return "".join(f'<p class="atelier-sum">{escape(line)}</p>' for line in lines)

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

    def preview_cover(self, name: str | None) -> list[Any]:
        """Return the preview picture beside the file as it is shown, what the page keeps of it, and a message."""
        try:
            return [small_cover(load_picture(cards.preview_beside(file_work.file_of(self.atelier, name)))), PREVIEW, ""]
        except AtelierError as error:
            return [update(), SAME, error_html(error, self.words)]

    def order(self, *values: Any) -> labels.Order:
        """Return the order that the form says; a picture that cannot be read raises."""
        fields, (entries, card, prefer, cover, drop_private) = values[: len(FORM)], values[len(FORM) :]
        options = LabelOptions(
            **dict(zip(FORM, fields, strict=True)),
            entries=batch.typed_entries(entries),
            cover="" if cover in (SAME, DROPPED, PREVIEW) else cover,
            cover_from_preview=cover == PREVIEW,
            remove_cover=cover == DROPPED,
            remove_private=drop_private,
            card=card,
            prefer=prefer,
        )
        return options.order()

    def preview(self, name: str | None, where: str, copy: str, *values: Any) -> tuple[str, str]:
        """Return a message and the table of what saving would change."""

        def look() -> labels.Planned:
            path, order = file_work.file_of(self.atelier, name), self.order(*values)
            return labels.prepare(path, order, target=self.atelier.folders.lora(copy) if where == "copy" else None)

        found, message = work.tried(self.words, look)
        if found is None:
            return message, ""
        told = notes_html(found.notes, self.words, kind="warning")
        if not found.all_changes:
            return note_html(self.words("workshop.no_change")) + told, ""
        text = self.words("workshop.will_change", n=len(found.all_changes))
        return note_html(text) + told, change_table({name or "": found.all_changes}, self.words)

    def save(self, name: str | None, where: str, copy: str, *values: Any) -> Iterator[tuple[str, str, Any]]:
        """Write the form into a new file or in place; yields (message, table, Cancel)."""
        try:
            path, order = file_work.file_of(self.atelier, name), self.order(*values)
            target = self.atelier.folders.lora(copy) if where == "copy" else None
            labels.check(path, target, self.atelier)
            labels.prepare(path, order, target=target)
        except AtelierError as error:
            yield error_html(error, self.words), "", IDLE
            return

        def write(progress: Progress) -> labels.Labeled:
            progress.passed(0, 1, say("saving"))
            return labels.write(path, order, target=target)

        job = file_work.submit(self.atelier, (target or path).stem, write, kind=SAVE)
        for html in work.shown(self.atelier, self.words, job):
            yield html, "", update(visible=not job.ended)
        if job.result is not None:
            yield self.saved(job.result), change_table({job.result.path.stem: job.result.changes}, self.words), IDLE

    def saved(self, made: labels.Labeled) -> str:
        """Return what is said of a file that was written: where, its tensors' hash, what lies beside it."""
        text = self.words("workshop.meta_saved", path=str(made.path))
        if made.backup is not None:
            text = self.words("workshop.meta_saved_in_place", path=str(made.path), backup=made.backup.name)
        hashes = self.words("workshop.meta_hashes", before=made.hash_before[:12], after=made.hash_after[:12])
        beside = self.words("workshop.meta_beside", names=", ".join(one.name for one in made.beside))
        html = note_html(" ".join([text, hashes, *([beside] if made.beside else [])]), kind="good")
        notes = notes_html(made.notes, self.words, kind="warning")
        return html + notes + errors_html(made.failed, self.words)

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


_TAGS = 12
"""Tags of captions that the form shows."""


def cut_line(text: str) -> str:
    """Return a stranger's text as part of a line: without line ends and control characters, and not too long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= 80 else f"{line[:80]} …"


def cut_raw(value: str) -> str:
    """Return a value for the raw view; a cover picture of many kilobytes is shortened."""
    return value if len(value) <= 20_000 else f"{value[:200]} … ({len(value)})"

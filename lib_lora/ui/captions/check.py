"""What is odd about pictures and captions, as a list: a sentence, what it touches, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.data.files import shown
from lib_lora.data.images import load_picture
from lib_lora.data.lint import Finding, Lint, lint
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import TagChange
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import KIND, Found
from lib_lora.ui import compat
from lib_lora.ui.captions.editor import CaptionTools, given
from lib_lora.ui.captions.work import followed, inline
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.train.inline_actions import act_button, read_act
from lib_lora.ui.train.look import problems_html

BOX = "atelier_train_check_act"
SIDE = 84
"""Pixels of a small picture in the list."""
PICTURES = 8
"""Small pictures of one finding at most."""


@dataclass(frozen=True)
class Checked:
    """What was found in a folder, and small pictures of what it is about."""

    folder: Path
    found: Lint
    pictures: Mapping[Path, str]


@dataclass(frozen=True)
class CheckWidgets:
    """The widgets."""

    check: Any
    shown: Any
    act: Any


def check_widgets(words: Words) -> CheckWidgets:
    """Draw the button and the place of the list."""
    check = gr.Button(words("captions.check"), size="sm", elem_id="atelier_train_check")
    shown_at = gr.HTML("", elem_id="atelier_train_checked")
    return CheckWidgets(check, shown_at, gr.Textbox(value="", visible=compat.HIDDEN, label="act", elem_id=BOX))


class CheckTools:
    """Handlers of the list."""

    def __init__(self, atelier: Atelier, tools: CaptionTools, words: Words) -> None:
        self._atelier, self._tools, self._words = atelier, tools, words

    def check(self, found: Found | None, trigger: str, kind: str, side: Any) -> Iterator[tuple[str, Checked | None]]:
        """Look at all pictures and captions as a job; yield its progress, then the list and what it shows."""
        try:
            known = given(found)
        except AtelierError as error:
            yield error_html(error, self._words), None
            return
        size = int(compat.number(side, 0)) or self._atelier.host.model.native_side

        def work(job: Job) -> Checked:
            style = kind == "style"
            made = lint(known.train, known.captions, trigger=trigger or "", side=size, is_style=style, progress=job)
            about = [path for one in made.findings for path in one.pictures[:PICTURES]]
            return Checked(known.folder, made, dict(_small(about)))

        seen: list[Checked] = []

        def said(made: Checked) -> str:
            seen.append(made)
            return self.html(made)

        for html in followed(self._atelier, self._words, KIND, known.folder.name, work, said):
            yield html, seen[0] if seen else None

    def act(self, order: str, found: Found | None, checked: Checked | None) -> tuple[str, str, Checked | None]:
        """Take a tag out of all captions; return message, list and what it shows, without it where it is gone."""
        verb, tag = read_act(order)
        if verb != "untag" or checked is None:
            return "", "", checked
        try:
            known = given(found)
            if known.folder != checked.folder:
                raise InputError("This list is about another folder", cure="Look for what is odd about this one first.")
            made = self._tools.captions(known).change(known.pictures, TagChange("remove", tag))
        except AtelierError as error:
            return error_html(error, self._words), self.html(checked), checked
        if made.problems:  # it is still there
            return self._tools.changed_html(made), self.html(checked), checked
        rest = tuple(row for row in checked.found.everywhere if row[0] != tag)
        left = replace(checked, found=replace(checked.found, everywhere=rest))
        return self._tools.changed_html(made), self.html(left), left

    def html(self, checked: Checked) -> str:
        """Return the list; a sentence where nothing is odd."""
        rows = [self._row(one, checked.pictures) for one in checked.found.findings]
        unread = problems_html(checked.found.problems, (), self._words)
        if not rows:
            return unread or note_html(self._words("captions.nothing_odd"), kind="good")
        return f'<ul class="atelier-findings">{"".join(rows)}</ul>{unread}'

    def _row(self, one: Finding, pictures: Mapping[Path, str]) -> str:
        said = f"<span>{escape(sentence_in_words(one.sentence, self._words.language))}</span>"
        if one.tag:
            title = self._words("captions.untag_title", tag=one.tag)
            said += act_button(f"untag {one.tag}", self._words("captions.untag"), title=title, box=BOX)
        small = "".join(
            f'<img src="{pictures[path]}" alt="{escape(shown(path.name))}" title="{escape(shown(path.name))}">'
            for path in one.pictures[:PICTURES]
            if path in pictures
        )
        return f"<li>{said}{f'<div>{small}</div>' if small else ''}</li>"


def _small(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield pictures that are there still, small."""
    for path in dict.fromkeys(paths):
        try:
            yield path, inline(load_picture(path), SIDE)
        except FileError:
            continue  # named with those that cannot be read

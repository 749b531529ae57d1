"""A regular expression over the captions in view: what it would change is shown before it is done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.data.edit_captions import CaptionChange
from lib_lora.data.files import shown
from lib_lora.data.tag_lines import split_tags
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.services.captions import TagChange
from lib_lora.services.picture_folder import Found
from lib_lora.ui.captions.editor import CaptionTools, given
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.train.look import problems_html

Seen = tuple[Path, str, str, str]
"""What was previewed: folder, expression, replacement, filter."""


@dataclass(frozen=True)
class ExpressionWidgets:
    """The widgets."""

    find: Any
    by: Any
    preview: Any
    apply: Any
    shown: Any


def expression_widgets(words: Words) -> ExpressionWidgets:
    """Draw the two fields, the buttons, and the place where the changes are shown."""
    with gr.Row():
        find = gr.Textbox(
            value="",
            label=words("captions.find"),
            info=words("captions.find_info"),
            max_lines=1,
            elem_id="atelier_train_regex_find",
        )
        by = gr.Textbox(
            value="",
            label=words("captions.find_by"),
            info=words("captions.find_by_info"),
            max_lines=1,
            elem_id="atelier_train_regex_by",
        )
    with gr.Row():
        preview = gr.Button(words("captions.preview"), size="sm", elem_id="atelier_train_regex_preview")
        apply = gr.Button(words("captions.apply"), size="sm", elem_id="atelier_train_regex_apply")
    return ExpressionWidgets(find, by, preview, apply, gr.HTML("", elem_id="atelier_train_regex_shown"))


class ExpressionTools:
    """Handlers of the regular expression."""

    def __init__(self, tools: CaptionTools, words: Words) -> None:
        self._tools, self._words = tools, words

    def preview(self, found: Found | None, only: str, find: str, by: str) -> tuple[str, Seen | None]:
        """Return the first captions before and after with the number of all, and what was previewed."""
        try:
            known = given(found, only)
            change = TagChange("regex", find or "", by or "")
            seen = self._tools.captions(known).foresee(known.chosen, change)
        except AtelierError as error:
            return error_html(error, self._words), None
        head = note_html(self._words("captions.would_change", n=seen.count, all=len(known.chosen)))
        rows = changes_html(seen.first)
        return head + rows + problems_html(seen.problems, (), self._words), _order(known, find, by)

    def apply(self, found: Found | None, only: str, find: str, by: str, seen: Seen | None) -> tuple[str, None]:
        """Do what was previewed; where folder, fields or filter are others by now, ask for a preview first."""
        try:
            if seen is None or tuple(seen) != _order(given(found, only), find, by):
                raise InputError("This was not previewed", cure="Press “Preview” first: it shows what would change.")
        except AtelierError as error:
            return error_html(error, self._words), None
        return self._tools.tag("regex", found, only, find, by), None


def _order(known: Found, find: str, by: str) -> Seen:
    return known.folder, find or "", by or "", known.only


def changes_html(changes: Sequence[CaptionChange]) -> str:
    """Return captions before and after in one line each: what goes struck out, what comes underlined."""
    if not changes:
        return ""
    rows = "".join(
        f"<li><b>{escape(shown(one.path.stem))}</b> {_compared(one.before or '', one.after or '')}</li>"
        for one in changes
    )
    return f'<ul class="atelier-changes">{rows}</ul>'


def _compared(before: str, after: str) -> str:
    old, new = (["↵" if part == "\n" else part for part in _parts(text)] for text in (before, after))
    found = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [escape(part) for part in old[a:b]]
        else:
            found += [f"<del>{escape(part)}</del>" for part in old[a:b]]
            found += [f"<ins>{escape(part)}</ins>" for part in new[c:d]]
    return ", ".join(found).replace(", ↵, ", " ↵ ")


def _parts(text: str) -> list[str]:
    return [tag for part in re.split(r"(\n)", text) for tag in ([part] if part == "\n" else split_tags(part))]

"""One picture's caption, or one tag in all that are in view; the filter that chooses them; and undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lib_lora.data.files import shown as printable
from lib_lora.data.name_rules import FILE
from lib_lora.data.tags import TagLists
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.options import find
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Captions, Changed, TagChange, chosen_by, rules_or_usual
from lib_lora.services.picture_folder import SHOWN, Found
from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.train.look import problems_html


@dataclass(frozen=True)
class EditorWidgets:
    """The widgets of the editor."""

    only: Any
    only_message: Any
    scope: Any
    gallery: Any
    caption: Any
    save: Any
    tags: Any
    tag: Any
    by: Any
    add: Any
    remove: Any
    replace: Any
    undo: Any
    message: Any


@dataclass(frozen=True)
class Opened:
    """The picture that was clicked, and its caption as the box was given it."""

    picture: Path
    text: str


@dataclass(frozen=True)
class RuleWidgets:
    """The widgets of captions from file names."""

    also: Any
    rule: Any


def editor_widgets(words: Words) -> EditorWidgets:
    """Draw gallery and editor side by side."""
    made: dict[str, Any] = {}
    with gr.Row():
        with gr.Column(scale=3, min_width=360):
            made["only"] = widget(find(TagChange, "only"), words, elem_id="atelier_train_only")
            made["only_message"] = gr.HTML("", elem_id="atelier_train_only_message")
            made["scope"] = gr.HTML("", elem_id="atelier_train_scope")
            made["gallery"] = gr.Gallery(
                label=words("train.gallery"),
                columns=3,
                height=420,
                object_fit="contain",
                allow_preview=False,
                elem_id="atelier_train_gallery",
            )
            gr.HTML(f'<span class="atelier-soft">{words("train.gallery_hint")}</span>')
        with gr.Column(scale=2, min_width=320):
            made["caption"] = gr.Textbox(
                label=words("train.caption"),
                info=words("train.caption_info"),
                lines=3,
                value="",
                elem_id="atelier_train_caption",
            )
            made["save"] = gr.Button(words("train.caption_save"), size="sm", elem_id="atelier_train_caption_save")
            made["tags"] = gr.HTML("", elem_id="atelier_train_tags")
            with gr.Row():
                made["tag"] = widget(find(TagChange, "tag"), words, info=False, value="", elem_id="atelier_train_tag")
                made["by"] = widget(find(TagChange, "by"), words, info=False, elem_id="atelier_train_tag_by")
            with gr.Row():
                for act in ("add", "remove", "replace"):
                    ident = f"atelier_train_tag_{act}"
                    made[act] = gr.Button(words(f"captions.{act}"), size="sm", min_width=128, elem_id=ident)
            made["undo"] = gr.Button(words("train.undo"), size="sm", elem_id="atelier_train_undo")
            made["message"] = gr.HTML("", elem_id="atelier_train_caption_message")
    return EditorWidgets(**made)


def rule_widgets(words: Words, rules: TagLists | None = None) -> RuleWidgets:
    """Draw what captions from file names need; ``rules`` tell which tags no name says."""
    rules = rules or TagLists()
    also = gr.CheckboxGroup(
        no_name_says(rules),
        value=list(rules.expressions),
        label=words("train.rule_also"),
        info=words("train.rule_also_info", file=FILE),
        elem_id="atelier_train_rule_also",
    )
    return RuleWidgets(also, gr.Button(words("captions.write"), size="sm", elem_id="atelier_train_tag_rule"))


class CaptionTools:
    """Handlers of the editor; each returns a message."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def pick(self, found: Found | None, index: int) -> tuple[Opened | None, str]:
        """Return the picture that was clicked in the gallery, and its caption."""
        if found is None or not 0 <= index < len(found.in_view):
            return None, ""
        picture = found.in_view[index].path
        return Opened(picture, found.captions[picture]), found.captions[picture]

    def save(self, found: Found | None, opened: Opened | None, text: str) -> str:
        """Write the caption of the picture that was clicked; one that is another by now stays."""
        wanted = (text or "").strip()

        def write(known: Found) -> Changed:
            if opened is None or opened.picture not in known.captions:
                raise InputError("No picture is chosen", cure="Click a picture in the gallery first.")
            return self.captions(known).change([opened.picture], partial(_written, opened, wanted))

        return self._do(found, write)

    def reopened(self, found: Found | None, opened: Opened | None, text: str) -> tuple[Opened | None, Any]:
        """Return what is open after captions or the folder became others, and the box; what was typed there stays."""
        if opened is None:
            return None, compat.update()
        now = None if found is None else found.captions.get(opened.picture)
        typed = (text or "").strip()
        if typed not in (opened.text.strip(), (now or "").strip()):
            return (None if now is None else opened), compat.update()
        after = None if now is None else Opened(opened.picture, now)
        return after, compat.update() if typed == (now or "").strip() else compat.update(value=now or "")

    def tag(self, act: str, found: Found | None, only: str, tag: str, by: str = "") -> str:
        """Add a tag to the captions that the filter takes, remove it, or put another one in its place."""

        def change(known: Found) -> Changed:
            return self.captions(known).change(known.chosen, TagChange(act, tag or "", by or ""))

        return self._do(found, change, only)

    def rule(self, found: Found | None, only: str, trigger: str, also: list[str] | None) -> str:
        """Write the captions that the names of the pictures in view call for, and what was ticked beside it."""
        return self._do(found, lambda known: self.captions(known).follow_rule(known.chosen, trigger, also or ()), only)

    def offered(self, also: list[str] | None, before: list[str]) -> tuple[Any, list[str]]:
        """Return the choices of what no name says as the rules are now, and once more to be told from newer ones.

        What was ticked stays so; a tag that is new is ticked where it was at first.
        """
        rules = rules_or_usual(self._atelier.folders.data)
        now = no_name_says(rules)
        if now == before:
            return compat.update(), before
        ticked = [tag for tag in now if tag in (also or ()) or (tag in rules.expressions and tag not in before)]
        return compat.update(choices=now, value=ticked), now

    def undo(self, found: Found | None) -> str:
        """Take the newest change back."""
        try:
            done, kept = self.captions(given(found)).undo()
        except AtelierError as error:
            return error_html(error, self._words)
        note = note_html(self._words("train.undone", n=done), kind="good")
        names = ", ".join(path.name for path in kept[:5])
        return note + (note_html(self._words("train.undo_kept", names=names), kind="warning") if kept else "")

    def state(self, found: Found | None) -> tuple[str, Any]:
        """Return the line that says what is in view, and the button of undo with the number of its steps."""
        words = self._words
        if found is None:
            return "", compat.update(value=words("train.undo"))
        shown, every = len(found.chosen), len(found.pictures)
        parts = [
            words("captions.scope_all", n=every) if shown == every else words("captions.scope", n=shown, all=every)
        ]
        parts += [words("captions.first", n=SHOWN)] if len(found.in_view) > SHOWN else []
        depth = self.captions(found).depth
        undo = words("captions.undo", n=depth) if depth else words("train.undo")
        return f'<span class="atelier-soft">{" · ".join(parts)}</span>', compat.update(value=undo)

    def captions(self, found: Found) -> Captions:
        """Return the captions of a folder, whose changes can be taken back."""
        return Captions(self._atelier.folders.data, found.folder, found.endings)

    def _do(self, found: Found | None, change: Callable[[Found], Changed], only: str | None = None) -> str:
        """Carry out a change; what could not be changed is named below the number of what was."""
        try:
            return self.changed_html(change(given(found, only)))
        except AtelierError as error:
            return error_html(error, self._words)

    def changed_html(self, made: Changed) -> str:
        """Return how many captions changed, and below which could not."""
        note = note_html(self._words("train.captions_changed", n=made.count), kind="good" if made.count else "note")
        return note + problems_html(made.problems, (), self._words)


def no_name_says(rules: TagLists) -> list[str]:
    """Return the tags that are ticked by whoever knows the pictures."""
    return list(dict.fromkeys((*rules.backgrounds, *rules.expressions)))


def given(found: Found | None, only: str | None = None) -> Found:
    """Return the folder that was looked at, with the filter as it stands in its field, entered or not.

    Raises:
        InputError: none was, or the filter is none.
    """
    if found is None:
        raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
    if only is None:
        return found
    chosen_by(found.captions, only.strip())
    return replace(found, only=only.strip())


def clicked(found: Found, opened: Opened | None) -> Path:
    """Return the picture that was clicked, else the first in view.

    Raises:
        InputError: none is in view.
    """
    if opened is not None and opened.picture in found.captions:
        return opened.picture
    if not found.chosen:
        raise InputError("No picture is chosen", cure="Click a picture in the gallery first.")
    return found.chosen[0]


def _written(opened: Opened, wanted: str, now: str) -> str:
    """Return the caption that is wanted in the place of the one that was opened.

    Raises:
        InputError: by now it is neither.
    """
    if now.strip() not in (opened.text.strip(), wanted):
        raise InputError(
            "The caption was changed since it was opened here",
            where=printable(opened.picture.name),
            cure="Copy what you wrote, click the picture again, and put it in there.",
        )
    return wanted

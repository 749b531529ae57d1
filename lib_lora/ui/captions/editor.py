"""One picture's caption, or one tag in all that are in view; the filter that chooses them; and undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.data.name_rules import FILE
from lib_lora.data.tags import TagLists
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.options import find
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Captions, Changed, TagChange
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
        [*rules.backgrounds, *rules.expressions],
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

    def pick(self, found: Found | None, index: int) -> tuple[int, str]:
        """Return the index of the picture that was clicked among all, and its caption."""
        if found is None or not 0 <= index < len(found.chosen):
            return -1, ""
        picture = found.chosen[index]
        return found.pictures.index(picture), found.captions[picture]

    def save(self, found: Found | None, chosen: int, text: str) -> str:
        """Write the caption of the picture that was clicked."""

        def write(known: Found) -> Changed:
            if not 0 <= chosen < len(known.pictures):
                raise InputError("No picture is chosen", cure="Click a picture in the gallery first.")
            return self.captions(known).change([known.pictures[chosen]], lambda _: (text or "").strip())

        return self._do(found, write)

    def tag(self, act: str, found: Found | None, tag: str, by: str = "") -> str:
        """Add a tag to the captions in view, remove it, or put another one in its place."""
        return self.change(found, lambda: TagChange(act, tag or "", by or ""))

    def change(self, found: Found | None, change: Callable[[], TagChange], *, everywhere: bool = False) -> str:
        """Make a change in the captions in view, or in all of them."""
        return self._do(
            found,
            lambda known: self.captions(known).change(known.pictures if everywhere else known.chosen, change()),
        )

    def rule(self, found: Found | None, trigger: str, also: list[str] | None) -> str:
        """Write the captions that the pictures' names call for, and what was ticked of what no name says."""
        return self._do(found, lambda known: self.captions(known).follow_rule(trigger, also or ()))

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
        parts += [words("captions.first", n=SHOWN)] if shown > SHOWN else []
        depth = self.captions(found).depth
        undo = words("captions.undo", n=depth) if depth else words("train.undo")
        return f'<span class="atelier-soft">{" · ".join(parts)}</span>', compat.update(value=undo)

    def captions(self, found: Found) -> Captions:
        """Return the captions of a folder, whose changes can be taken back."""
        return Captions(self._atelier.folders.data, found.folder)

    def _do(self, found: Found | None, change: Callable[[Found], Changed]) -> str:
        """Carry out a change; what could not be changed is named below the number of what was."""
        try:
            made = change(given(found))
        except AtelierError as error:
            return error_html(error, self._words)
        note = note_html(self._words("train.captions_changed", n=made.count), kind="good" if made.count else "note")
        return note + problems_html(made.problems, (), self._words)


def given(found: Found | None) -> Found:
    """Return the folder that was looked at.

    Raises:
        InputError: none was.
    """
    if found is None:
        raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
    return found


def clicked(found: Found, chosen: int) -> Path:
    """Return the picture that was clicked, else the first in view.

    Raises:
        InputError: none is in view.
    """
    pictures = found.pictures[chosen : chosen + 1] if chosen >= 0 else found.chosen[:1]
    if not pictures:
        raise InputError("No picture is chosen", cure="Click a picture in the gallery first.")
    return pictures[0]

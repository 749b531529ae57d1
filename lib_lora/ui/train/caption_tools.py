"""The caption editor: one picture's caption, or one tag in all of them, each change with its undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib_lora.data.tags import BACKGROUNDS, EXPRESSIONS
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.options import find
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Captions, Changed, TagChange
from lib_lora.services.picture_folder import Found
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.train.look import problems_html


@dataclass(frozen=True)
class CaptionWidgets:
    """The widgets of the editor."""

    gallery: Any
    caption: Any
    save: Any
    tags: Any
    tag: Any
    by: Any
    add: Any
    remove: Any
    replace: Any
    also: Any
    rule: Any
    undo: Any
    message: Any


def caption_widgets(words: Words) -> CaptionWidgets:
    """Draw gallery and editor side by side."""
    with gr.Row():
        with gr.Column(scale=3):
            gallery = gr.Gallery(
                label=words("train.gallery"),
                columns=3,
                height=420,
                object_fit="contain",
                allow_preview=False,
                elem_id="atelier_train_gallery",
            )
            gr.HTML(f'<span class="atelier-soft">{words("train.gallery_hint")}</span>')
        with gr.Column(scale=2):
            caption = gr.Textbox(
                label=words("train.caption"),
                info=words("train.caption_info"),
                lines=3,
                value="",
                elem_id="atelier_train_caption",
            )
            save = gr.Button(words("train.caption_save"), size="sm", elem_id="atelier_train_caption_save")
            tags = gr.HTML("", elem_id="atelier_train_tags")
            with gr.Row():
                tag = widget(find(TagChange, "tag"), words, info=False, value="", elem_id="atelier_train_tag")
                by = widget(find(TagChange, "by"), words, info=False, elem_id="atelier_train_tag_by")
            with gr.Row():
                add = gr.Button(words("train.tag_add"), size="sm", elem_id="atelier_train_tag_add")
                remove = gr.Button(words("train.tag_remove"), size="sm", elem_id="atelier_train_tag_remove")
                replace = gr.Button(words("train.tag_replace"), size="sm", elem_id="atelier_train_tag_replace")
            also = gr.CheckboxGroup(
                [*BACKGROUNDS, *EXPRESSIONS],
                value=list(EXPRESSIONS),
                label=words("train.rule_also"),
                info=words("train.rule_also_info"),
                elem_id="atelier_train_rule_also",
            )
            with gr.Row():
                rule = gr.Button(words("train.tag_rule"), size="sm", elem_id="atelier_train_tag_rule")
                undo = gr.Button(words("train.undo"), size="sm", elem_id="atelier_train_undo")
            message = gr.HTML("", elem_id="atelier_train_caption_message")
    return CaptionWidgets(gallery, caption, save, tags, tag, by, add, remove, replace, also, rule, undo, message)


class CaptionTools:
    """Handlers of the editor; each returns a message."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def pick(self, found: Found | None, index: int) -> tuple[int, str]:
        """Return the chosen picture's index and its caption."""
        if found is None or not 0 <= index < len(found.pictures):
            return -1, ""
        return index, found.captions[found.pictures[index]]

    def save(self, found: Found | None, chosen: int, text: str) -> str:
        """Write the chosen picture's caption."""

        def write(known: Found) -> Changed:
            if not 0 <= chosen < len(known.pictures):
                raise InputError("No picture is chosen", cure="Click a picture in the gallery first.")
            return self._captions(known).change([known.pictures[chosen]], lambda _: (text or "").strip())

        return self._do(found, write)

    def tag(self, act: str, found: Found | None, tag: str, by: str = "") -> str:
        """Add a tag to every caption, remove it, or put another one in its place."""
        return self._do(
            found, lambda known: self._captions(known).change(known.pictures, TagChange(act, tag or "", by or ""))
        )

    def rule(self, found: Found | None, trigger: str, also: list[str] | None) -> str:
        """Write the captions that the pictures' names call for, and what was ticked of what no name says."""
        return self._do(found, lambda known: self._captions(known).follow_rule(trigger, also or ()))

    def undo(self, found: Found | None) -> str:
        """Take the newest change back."""
        try:
            done, kept = self._captions(_given(found)).undo()
        except AtelierError as error:
            return error_html(error, self._words)
        note = note_html(self._words("train.undone", n=done), kind="good")
        names = ", ".join(path.name for path in kept[:5])
        return note + (note_html(self._words("train.undo_kept", names=names), kind="warning") if kept else "")

    def _do(self, found: Found | None, change: Callable[[Found], Changed]) -> str:
        """Carry out a change; what could not be changed is named below the number of what was."""
        try:
            made = change(_given(found))
        except AtelierError as error:
            return error_html(error, self._words)
        note = note_html(self._words("train.captions_changed", n=made.count), kind="good" if made.count else "note")
        return note + problems_html(made.problems, (), self._words)

    def _captions(self, found: Found) -> Captions:
        return Captions(self._atelier, found.folder)


def _given(found: Found | None) -> Found:
    if found is None:
        raise InputError("No folder was given", cure="Give the folder that holds the pictures.")
    return found

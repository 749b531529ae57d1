"""The handlers of the accordion: from the prompt to its widgets, and from a widget into the prompt's tag."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lib_lora.blocks.tag import Moment, ParsedTag, Span, parse_tag
from lib_lora.blocks.tag_edit import Change, change_tag, with_weights
from lib_lora.blocks.tokens import read_number
from lib_lora.blocks.typed import half_width
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.presets import save_preset
from lib_lora.services.prompt_tags import View, index_of, preset_names, strength_text, title_of, view_of
from lib_lora.ui import compat
from lib_lora.ui.block_weight.row import row_html
from lib_lora.ui.messages import error_html, note_html


class Handlers:
    """The handlers of one accordion; everything that changes lives in the page, the prompt or the host."""

    def __init__(self, atelier: Atelier, words: Words, files: FileFacts, place: str) -> None:
        self._atelier, self._words, self._files, self._place = atelier, words, files, place

    # -- from the prompt to the widgets -------------------------------------------------------------------------

    def refresh(self, prompt: str, label: str, active: bool, seen: str) -> list[Any]:
        """Return what the widgets show for a prompt; nothing where its tags are as they were."""
        view = view_of(prompt or "", label or "", self._atelier.host, self._files)
        now = repr((view, active, hash(self._atelier.host.presets.text)))
        if now == seen:
            return [compat.update()] * 12
        return [*self._shown(view, prompt or "", active), now]

    def refresh_anew(self, prompt: str, label: str, active: bool) -> list[Any]:
        """Return what the widgets show, whatever they showed."""
        return self.refresh(prompt, label, active, "")

    def refresh_kept(self, prompt: str, label: str, active: bool) -> list[Any]:
        """Return what the widgets show, and leave the message."""
        values = self.refresh(prompt, label, active, "")
        values[10] = compat.update()
        return values

    def _shown(self, view: View, prompt: str, active: bool) -> list[Any]:
        words, host, tag = self._words, self._atelier.host, view.tag
        names = preset_names(host.presets, view.facts.family if view.facts else host.model.family)
        plain, own = words("block_weight.plain"), words("block_weight.own")
        written = view.written
        chosen = plain if not written else next((n for n in names if n.casefold() == written.casefold()), own)
        elements = tag.elements.text if tag and tag.elements else words("block_weight.none")
        return [
            compat.update(label=title_of(prompt, host, words, active=active)),
            compat.update(choices=list(view.labels), value=view.label or None),
            compat.update(choices=[plain, *([own] if chosen == own else []), *names], value=chosen if tag else None),
            strength_text(tag.te) if tag else "1",
            strength_text(tag.unet) if tag else "1",
            row_html(view.facts, words, place=self._place, off=view.problem is not None) or self._empty(view),
            view.weights.format() if view.weights else "",
            tag.start.format() if tag and tag.start else "",
            tag.stop.format() if tag and tag.stop else "",
            compat.update(value=elements),
            self._said(view),
        ]

    def _said(self, view: View) -> str:
        return error_html(view.problem, self._words) if view.problem else ""

    def _empty(self, view: View) -> str:
        return "" if view.labels else f'<p class="atelier-hint">{self._words("block_weight.insert_lora")}</p>'

    # -- from the widgets to the prompt -------------------------------------------------------------------------

    def writer(self, change_for: Callable[[Any], Change]) -> Callable[..., tuple[Any, str]]:
        """Return the handler that writes a widget's value into the chosen tag; what cannot be right is said."""

        def write(value: Any, prompt: str, label: str) -> tuple[Any, str]:
            try:
                changed = change_tag(prompt, index_of(prompt, label), change_for(value))
            except AtelierError as error:
                return compat.update(), error_html(error, self._words)
            # A field that was only left must not send the prompt back: it may have been changed meanwhile.
            return (compat.update() if changed == prompt else changed), ""

        return write

    def to_preset(self, name: str) -> Change:
        """Return the change to a preset; the entry for own numbers changes nothing.

        Raises:
            InputError: there is none of this name.
        """
        host, plain = self._atelier.host, self._words("block_weight.plain")
        if name == self._words("block_weight.own"):
            return lambda tag: tag
        if name and name != plain and not host.presets.has(name):
            host.presets.lookup(name, host.model.family)  # which says what names there are
        return with_weights("" if name in (None, plain) else name)

    def to_vector(self, text: str) -> Change:
        """Return the change to a written vector; one that says what the tag says already changes nothing.

        Raises:
            InputError: a value is none, or their count is no layout's.
        """
        text = (text or "").strip()
        if not text:
            return lambda tag: tag
        host = self._atelier.host
        found = host.presets.vector(text, host.model.family)
        if found.name or any(token.kind != "number" for token in found.tokens):
            return with_weights(found.name or found.written)

        def change(tag: ParsedTag) -> ParsedTag:
            now = view_of(tag.text, "", host, self._files).weights
            return tag if now is not None and now == found.weights() else with_weights(found.written)(tag)

        return change

    def to_te(self, text: str) -> Change:
        """Return the change of the text encoder's strength."""
        value = self._strength(text)
        return lambda tag: replace(tag, te=value)

    def to_unet(self, text: str) -> Change:
        """Return the change of the UNet's strength."""
        value = self._strength(text)
        return lambda tag: replace(tag, unet=value)

    def to_start(self, text: str) -> Change:
        """Return the change of the first step."""
        moment = _moment(text, "start")
        return lambda tag: replace(tag, start=moment)

    def to_stop(self, text: str) -> Change:
        """Return the change of the first step that is off again."""
        moment = _moment(text, "stop")
        return lambda tag: replace(tag, stop=moment)

    def to_elements(self, name: str) -> Change:
        """Return the change of the element preset."""
        span = Span(name, 0) if name and name != self._words("block_weight.none") else None
        return lambda tag: tag if (tag.elements and tag.elements.text) == (span and span.text) else _elements(tag, span)

    def save(self, name: str, vector: str, over: bool, prompt: str, label: str) -> tuple[Any, str, Any]:
        """Save the shown numbers as a preset and name it in the tag."""
        try:
            changed = change_tag(prompt, index_of(prompt, label), with_weights(name.strip()))
            save_preset(self._atelier, name, vector, replace=bool(over))
        except AtelierError as error:
            return compat.update(), error_html(error, self._words), compat.update()
        said = self._words("block_weight.preset_saved", name=name.strip())
        return changed, note_html(said, kind="good"), compat.update(visible=False)

    def _strength(self, text: str) -> float:
        number = read_number(half_width(text or "").strip())
        if number is None or not math.isfinite(number):
            raise InputError(say("“{text}” is no strength", text=text), cure="Write a number like 0.8.")
        return number


def _elements(tag: ParsedTag, span: Span | None) -> ParsedTag:
    return replace(tag, elements=span)


def _moment(text: str, kind: str) -> Moment | None:
    text = (text or "").strip()
    return getattr(parse_tag(f"<lora:x:{kind}={text}>"), kind) if text else None

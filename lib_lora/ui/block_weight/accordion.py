"""The accordion *LoRA Block Weight*: shows the weights of a prompt's LoRA tag and writes them back into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lib_lora.blocks.tag import Moment, ParsedTag, Span, parse_tag
from lib_lora.blocks.tag_edit import Change, change_tag, with_weights
from lib_lora.blocks.tokens import read_number
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import AtelierError, InputError
from lib_lora.ui import compat
from lib_lora.ui.block_weight import analyzer, preset_editor
from lib_lora.ui.block_weight.facts import FileFacts
from lib_lora.ui.block_weight.presets_file import load_presets, save_preset
from lib_lora.ui.block_weight.row import MAILBOX, VECTOR, row_html, row_id
from lib_lora.ui.block_weight.tag_view import (
    View,
    element_names,
    index_of,
    preset_names,
    strength_text,
    title_of,
    view_of,
)
from lib_lora.ui.compat import gr
from lib_lora.ui.context import Atelier
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.picture_inputs import PictureInputs
from lib_lora.ui.words import Words


@dataclass(frozen=True)
class BlockWeightPanel:
    """What the page wires to others.

    Attributes:
        active: checkbox; where it is off, pictures are rendered with plain LoRAs (`without_block_weights`).
        analyzer: the analyzer's widgets.
    """

    active: Any
    accordion: Any
    lora: Any
    message: Any
    analyzer: analyzer.AnalyzerPanel


@dataclass(frozen=True)
class _Parts:
    """The widgets that follow the prompt."""

    accordion: Any
    active: Any
    lora: Any
    preset: Any
    te: Any
    unet: Any
    row: Any
    vector: Any
    mailbox: Any
    start: Any
    stop: Any
    elements: Any
    message: Any
    seen: Any

    @property
    def shown(self) -> list[Any]:
        """What `_Accordion.refresh` returns values for, in its order."""
        return [
            self.accordion,
            self.lora,
            self.preset,
            self.te,
            self.unet,
            self.row,
            self.vector,
            self.start,
            self.stop,
            self.elements,
            self.message,
            self.seen,
        ]


def build(
    atelier: Atelier, words: Words, prompt: Any, picture: PictureInputs, *, place: str = "generate"
) -> BlockWeightPanel:
    """Build the accordion.

    Args:
        atelier: host, desk, folders.
        words: the page's language.
        prompt: the textbox whose LoRA tags are shown and changed.
        picture: the picture's other settings, for the analyzer.
        place: part of the element ids; another one for each accordion of a page.
    """
    load_presets(atelier)
    files = FileFacts(atelier)
    with gr.Accordion(words("block_weight.title"), open=False, elem_id=row_id(place, "accordion")) as accordion:
        parts, save = _widgets(atelier, words, accordion, place)
        analysis = analyzer.build(atelier, words, prompt, parts.lora, picture, files, place=place)
        with gr.Accordion(words("block_weight.presets_text"), open=False, elem_id=f"atelier_{place}_presets"):
            editor = preset_editor.build(atelier, words, place=place)
    logic = _Accordion(atelier, words, files, place)
    _wire(logic, parts, prompt)
    _wire_save(logic, parts, save, prompt)
    editor.saved.then(
        logic.refresh_anew, [prompt, parts.lora, parts.active], parts.shown, queue=False, **compat.event_kw()
    )
    return BlockWeightPanel(parts.active, accordion, parts.lora, parts.message, analysis)


def _widgets(atelier: Atelier, words: Words, accordion: Any, place: str) -> tuple[_Parts, dict[str, Any]]:
    def ident(thing: str) -> dict[str, str]:
        return {"elem_id": row_id(place, thing)}

    with gr.Row(elem_classes="atelier-bw-head"):
        active = gr.Checkbox(True, label=words("block_weight.active"), min_width=80, **ident("active"))
        lora = gr.Dropdown([], label=words("block_weight.lora"), min_width=140, scale=2, **ident("lora"))
        preset = gr.Dropdown([], label=words("block_weight.preset"), min_width=140, scale=2, **ident("preset"))
        te = gr.Textbox("1", label=words("block_weight.te"), max_lines=1, min_width=70, **ident("te"))
        unet = gr.Textbox("1", label=words("block_weight.unet"), max_lines=1, min_width=70, **ident("unet"))
    message = gr.HTML("", **ident("message"))
    row = gr.HTML("", **ident("row"))
    mailbox = gr.Textbox("", visible=False, **ident(MAILBOX))
    with gr.Row(elem_classes="atelier-bw-line"):
        vector = gr.Textbox("", label=words("block_weight.vector"), max_lines=1, scale=6, **ident(VECTOR))
        with gr.Column(scale=1, min_width=150, elem_classes="atelier-bw-buttons"):
            save_as = gr.Button(words("block_weight.save_as"), size="sm", **ident("save_as"))
            reset = gr.Button(words("block_weight.reset"), size="sm", **ident("reset"))
    with gr.Row(visible=False, elem_classes="atelier-bw-line") as save_row:
        name = gr.Textbox("", label=words("block_weight.preset_name"), max_lines=1, scale=3, **ident("save_name"))
        over = gr.Checkbox(False, label=words("block_weight.replace"), scale=2, **ident("save_replace"))
        save = gr.Button(words("block_weight.save"), size="sm", scale=1, **ident("save"))
    with gr.Accordion(words("block_weight.more"), open=False), gr.Row():
        start = gr.Textbox("", label=words("block_weight.start"), placeholder="0", max_lines=1, **ident("start"))
        stop = gr.Textbox(
            "", label=words("block_weight.stop"), placeholder=words("block_weight.end"), max_lines=1, **ident("stop")
        )
        elements = gr.Dropdown(
            [words("block_weight.none"), *element_names()],
            value=words("block_weight.none"),
            label=words("block_weight.elements"),
            info=words("block_weight.elements_hint"),
            scale=2,
            **ident("elements"),
        )
    seen = gr.State("")
    parts = _Parts(
        accordion, active, lora, preset, te, unet, row, vector, mailbox, start, stop, elements, message, seen
    )
    return parts, {"open": save_as, "row": save_row, "name": name, "replace": over, "save": save, "reset": reset}


def _wire(logic: _Accordion, parts: _Parts, prompt: Any) -> None:
    light = {"queue": False, **compat.event_kw()}
    prompt.change(logic.refresh, [prompt, parts.lora, parts.active, parts.seen], parts.shown, **light)
    for chooser in (parts.lora, parts.active):
        chooser.input(logic.refresh_anew, [prompt, parts.lora, parts.active], parts.shown, **light)

    def on(event: Callable[..., Any], widget: Any, change: Callable[[Any], Change]) -> None:
        event(logic.writer(change), [widget, prompt, parts.lora], [prompt, parts.message], **light)

    on(parts.preset.input, parts.preset, logic.to_preset)
    on(parts.elements.input, parts.elements, logic.to_elements)
    on(parts.mailbox.input, parts.mailbox, logic.to_vector)
    for field, change in (
        (parts.vector, logic.to_vector),
        (parts.te, logic.to_te),
        (parts.unet, logic.to_unet),
        (parts.start, logic.to_start),
        (parts.stop, logic.to_stop),
    ):
        on(field.submit, field, change)
        on(field.blur, field, change)


def _wire_save(logic: _Accordion, parts: _Parts, save: dict[str, Any], prompt: Any) -> None:
    light = {"queue": False, **compat.event_kw()}
    save["open"].click(lambda: compat.update(visible=True), None, save["row"], **light)
    save["reset"].click(
        logic.writer(lambda _: with_weights("")), [save["name"], prompt, parts.lora], [prompt, parts.message], **light
    )
    saving = save["save"].click(
        logic.save,
        [save["name"], parts.vector, save["replace"], prompt, parts.lora],
        [prompt, parts.message, save["row"]],
        **light,
    )
    saving.then(logic.refresh_kept, [prompt, parts.lora, parts.active], parts.shown, **light)


class _Accordion:
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
        names = preset_names(host.presets, host.model.family)
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
            row_html(view.facts, words, place=self._place) or self._empty(view),
            view.weights.format() if view.weights else "",
            tag.start.format() if tag and tag.start else "",
            tag.stop.format() if tag and tag.stop else "",
            compat.update(value=elements),
            error_html(view.problem, words) if view.problem else "",
        ]

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
        """Return the change to a preset; the entry for own numbers changes nothing."""
        if name == self._words("block_weight.own"):
            return lambda tag: tag
        return with_weights("" if name in (None, self._words("block_weight.plain")) else name)

    def to_vector(self, text: str) -> Change:
        """Return the change to a written vector; one that says what the tag says already changes nothing.

        Raises:
            InputError: a value is none, or their count is no layout's.
        """
        text = (text or "").strip()
        if not text:
            return lambda tag: tag
        host = self._atelier.host
        if "," not in text:
            return with_weights(host.presets.lookup(text, host.model.family).name)
        values = BlockWeights.parse(text)

        def change(tag: ParsedTag) -> ParsedTag:
            now = view_of(tag.text, "", host, self._files).weights
            return tag if now is not None and now == values else with_weights(values.format())(tag)

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
            save_preset(self._atelier, self._words, name, vector, replace=bool(over))
            changed = change_tag(prompt, index_of(prompt, label), with_weights(name.strip()))
        except AtelierError as error:
            return compat.update(), error_html(error, self._words), compat.update()
        said = self._words("block_weight.preset_saved", name=name.strip())
        return changed, note_html(said, kind="good"), compat.update(visible=False)

    def _strength(self, text: str) -> float:
        number = read_number((text or "").strip())
        if number is None:
            raise InputError(
                self._words("block_weight.no_number", text=text), cure=self._words("block_weight.no_number_cure")
            )
        return number


def _elements(tag: ParsedTag, span: Span | None) -> ParsedTag:
    return replace(tag, elements=span)


def _moment(text: str, kind: str) -> Moment | None:
    text = (text or "").strip()
    return getattr(parse_tag(f"<lora:x:{kind}={text}>"), kind) if text else None

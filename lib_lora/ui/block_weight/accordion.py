"""The accordion *LoRA Block Weight*: shows the weights of a prompt's LoRA tag and writes them back into it.

It is drawn first and wired to a prompt later, because a WebUI may put the prompt behind it on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.blocks.tag_edit import Change, with_weights
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.presets import load_presets
from lib_lora.services.prompt_tags import element_names
from lib_lora.ui import compat
from lib_lora.ui.block_weight import analyzer, make_weights, preset_editor
from lib_lora.ui.block_weight.handlers import Handlers
from lib_lora.ui.block_weight.row import MAILBOX, VECTOR, WATCH, row_id, watch_html
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.picture_inputs import PictureInputs


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
        """What `Handlers.refresh` returns values for, in its order."""
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


@dataclass(frozen=True)
class BlockWeightPanel:
    """What the page wires to others.

    Attributes:
        active: checkbox; where it is off, pictures are rendered with plain LoRAs (`without_block_weights`).
        watch: hidden; in a WebUI's page the script writes into it when the prompt's LoRA tags have changed.
        analyzer: the analyzer's widgets.
        changed: the events after which there may be other presets.
    """

    active: Any
    accordion: Any
    watch: Any
    analyzer: analyzer.AnalyzerPanel
    logic: Handlers
    parts: _Parts
    saving: dict[str, Any]
    changed: tuple[Any, ...]


def build(
    atelier: Atelier, words: Words, prompt: Any, picture: PictureInputs, *, place: str = "generate"
) -> BlockWeightPanel:
    """Build the accordion beside a prompt that stands on the page already.

    Args:
        atelier: host, job queues, folders.
        words: the page's language.
        prompt: the textbox whose LoRA tags are shown and changed.
        picture: the picture's other settings, for the analyzer.
        place: part of the element ids; another one for each accordion of a page.
    """
    panel = draw(atelier, words, place=place)
    wire(panel, prompt, picture, changed=prompt.change, settings=[one.change for one in picture.components])
    return panel


def draw(
    atelier: Atelier,
    words: Words,
    *,
    place: str,
    others: Sequence[Path] = (),
    threshold: int | None = None,
    prompt_id: str = "",
    watched: Sequence[str] = (),
) -> BlockWeightPanel:
    """Draw the accordion.

    Args:
        atelier: host, job queues, folders.
        words: the page's language.
        place: part of the element ids.
        others: preset files of other extensions, which are offered for import.
        threshold: where the analyzer's threshold starts; None: where it was left.
        prompt_id: element id of a WebUI's prompt; the page's script then tells ``watch`` of its tags.
        watched: element ids of a WebUI's widgets whose values the analyzer's estimate follows.
    """
    load_presets(atelier)
    files = FileFacts.confined(atelier)
    with gr.Accordion(words("block_weight.title"), open=False, elem_id=row_id(place, "accordion")) as accordion:
        parts, saving = _widgets(atelier, words, accordion, place)
        if prompt_id:
            gr.HTML(watch_html([prompt_id], row_id(place, WATCH), kind="tags"))
        watch = gr.Textbox("", visible=HIDDEN, label="watch", elem_id=row_id(place, WATCH))
        analysis = analyzer.draw(atelier, words, files, place=place, threshold=threshold, watched=watched)
        with gr.Accordion(words("block_weight.make"), open=False, elem_id=f"atelier_{place}_make"):
            made = make_weights.build(atelier, words, place=place)
        with gr.Accordion(words("block_weight.presets_text"), open=False, elem_id=f"atelier_{place}_presets"):
            editor = preset_editor.build(atelier, words, place=place, others=others)
    logic = Handlers(atelier, words, files, place)
    changed = (editor.saved, made.saved)
    return BlockWeightPanel(parts.active, accordion, watch, analysis, logic, parts, saving, changed)


def wire(
    panel: BlockWeightPanel,
    prompt: Any,
    picture: PictureInputs,
    *,
    changed: Callable[..., Any],
    settings: Sequence[Callable[..., Any]],
) -> None:
    """Wire a drawn accordion to the prompt and the picture's settings.

    Args:
        panel: the accordion; the `gr.Blocks` that it was drawn in must be open again.
        prompt: the textbox whose LoRA tags are shown and changed.
        picture: the picture's other settings, for the analyzer.
        changed: the event after which the accordion looks at the prompt again.
        settings: the events after which the analyzer's estimate is made anew.
    """
    parts, logic = panel.parts, panel.logic
    light = {"queue": False, **compat.event_kw()}
    changed(logic.refresh, [prompt, parts.lora, parts.active, parts.seen], parts.shown, **light)
    _wire(logic, parts, prompt)
    _wire_save(logic, parts, panel.saving, prompt)
    for saved in panel.changed:
        saved.then(logic.refresh_anew, [prompt, parts.lora, parts.active], parts.shown, **light)
    analyzer.wire(panel.analyzer, prompt, parts.lora, picture, changed=(changed, *settings))


def _widgets(atelier: Atelier, words: Words, accordion: Any, place: str) -> tuple[_Parts, dict[str, Any]]:
    def ident(thing: str) -> dict[str, str]:
        return {"elem_id": row_id(place, thing)}

    with gr.Row(elem_classes="atelier-bw-head"):
        active = gr.Checkbox(True, label=words("block_weight.active"), scale=0, min_width=92, **ident("active"))
        lora = compat.dropdown([], label=words("block_weight.lora"), min_width=120, scale=2, **ident("lora"))
        preset = compat.dropdown([], label=words("block_weight.preset"), min_width=120, scale=2, **ident("preset"))
        te = gr.Textbox("1", label=words("block_weight.te"), max_lines=1, min_width=175, **ident("te"))
        unet = gr.Textbox("1", label=words("block_weight.unet"), max_lines=1, min_width=64, **ident("unet"))
    message = gr.HTML("", **ident("message"))
    row = gr.HTML("", **ident("row"))
    mailbox = gr.Textbox("", visible=HIDDEN, **ident(MAILBOX))
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
            [words("block_weight.none"), *element_names(atelier.host.presets)],
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


def _wire(logic: Handlers, parts: _Parts, prompt: Any) -> None:
    light = {"queue": False, **compat.event_kw()}
    for chooser in (parts.lora, parts.active):
        chooser.input(logic.refresh_anew, [prompt, parts.lora, parts.active], parts.shown, **light)

    def on(event: Callable[..., Any], widget: Any, change: Callable[[Any], Change]) -> None:
        event(logic.writer(change), [widget, prompt, parts.lora], [prompt, parts.message], **light)

    on(parts.preset.input, parts.preset, logic.to_preset)
    on(parts.elements.input, parts.elements, logic.to_elements)
    on(parts.mailbox.change, parts.mailbox, logic.to_vector)  # gradio 6 has no input for what a script writes
    for field, change in (
        (parts.vector, logic.to_vector),
        (parts.te, logic.to_te),
        (parts.unet, logic.to_unet),
        (parts.start, logic.to_start),
        (parts.stop, logic.to_stop),
    ):
        on(field.submit, field, change)
        on(field.blur, field, change)


def _wire_save(logic: Handlers, parts: _Parts, save: dict[str, Any], prompt: Any) -> None:
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

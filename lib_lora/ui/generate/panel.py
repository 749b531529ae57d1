"""The tab *Generate*: prompt, LoRAs, settings, gallery, and the accordion *LoRA Block Weight*."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.blocks.tag_edit import without_block_weights
from lib_lora.errors import AtelierError
from lib_lora.host.base import GenerateRequest
from lib_lora.host.request import side_range
from lib_lora.i18n.words import Words, duration
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import STOPPED, Job
from lib_lora.services.pictures import KIND, Rendered, last_seed, submit
from lib_lora.ui import block_weight, compat
from lib_lora.ui.compat import gr
from lib_lora.ui.generate import from_picture, try_it
from lib_lora.ui.generate.lora_list import LoraList
from lib_lora.ui.messages import error_html, errors_html, follow, note_html, notes_html, progress_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.picture_inputs import PictureInputs, chosen_seed
from lib_lora.ui.remember import remember

KNOWN = {one.name: one for one in options_of(GenerateRequest)}


@dataclass(frozen=True)
class GeneratePanel:
    """What the app wires to other panels: “use in prompt”, the cards to begin with."""

    prompt: Any
    cards: try_it.TryIt


def build(atelier: Atelier, words: Words) -> GeneratePanel:
    """Build the tab."""
    cards = try_it.build(atelier, words)
    prompt, negative = _prompts(atelier, words)
    with gr.Row(elem_classes="atelier-generate-body"):
        with gr.Column(scale=3, min_width=420):
            settings, buttons = _settings(atelier, words)
            from_picture.build(atelier, words, [prompt, negative, *settings])
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                go = gr.Button(words("generate.go"), variant="primary", scale=3, elem_id="atelier_generate_go")
                cancel = gr.Button(words("generate.cancel"), scale=1, min_width=90, elem_id="atelier_generate_cancel")
            place = Path(*atelier.folders.outputs.parts[-2:])  # a long path helps nobody here
            first = f'<p class="atelier-hint">{escape(words("generate.first", folder=place))}</p>'
            status = gr.HTML(first, elem_id="atelier_generate_status")
            gallery = gr.Gallery(
                label=words("generate.gallery"),
                columns=2,
                height=330,
                object_fit="contain",
                elem_id="atelier_generate_gallery",
            )
    logic = _Generate(atelier, words)
    picture = PictureInputs((negative, *settings), logic.request)
    panel = block_weight.build(atelier, words, prompt, picture, place="generate")
    light = {"queue": False, **compat.event_kw()}
    inputs = [prompt, panel.active, negative, *settings]
    outputs = [status, gallery]
    go.click(logic.start, inputs, outputs, **compat.event_kw(side_by_side=True))
    prompt.submit(logic.start, inputs, outputs, **compat.event_kw(side_by_side=True))
    cancel.click(logic.cancel, None, status, **light)
    compat.page_being_built().load(logic.resume, None, outputs, **compat.event_kw(side_by_side=True))
    buttons["random"].click(lambda: -1, None, settings[0], **light)
    buttons["reuse"].click(logic.reuse, None, settings[0], **light)
    try_it.wire(cards, prompt, settings[0], panel)
    return GeneratePanel(prompt, cards)


def _prompts(atelier: Atelier, words: Words) -> tuple[Any, Any]:
    """Build the prompts and, beside them, the list of LoRAs."""
    atelier.live.add("loras", LoraList(atelier.host))
    with gr.Row():
        with gr.Column(scale=3, min_width=420):
            prompt = widget(
                KNOWN["prompt"],
                words,
                info=False,
                value="",
                lines=3,
                max_lines=8,
                placeholder=words("generate.prompt_example"),
                elem_id="atelier_generate_prompt",
            )
            negative = widget(
                KNOWN["negative"], words, info=False, lines=2, max_lines=6, elem_id="atelier_generate_negative"
            )
        with gr.Column(scale=1, min_width=220):
            search = words("generate.search")
            gr.HTML(
                f'<div class="atelier-lora-box" data-prompt="atelier_generate_prompt"><label>{words("generate.loras")} '
                f'<input type="search" class="atelier-search" placeholder="{search}" aria-label="{search}"></label>'
                f"{atelier.live.placeholder('loras', words)}</div>",
                elem_id="atelier_generate_loras",
            )
    remember(atelier, prompt, "generate.prompt", good=lambda value: isinstance(value, str))
    remember(atelier, negative, "generate.negative", good=lambda value: isinstance(value, str))
    return prompt, negative


def _settings(atelier: Atelier, words: Words) -> tuple[list[Any], dict[str, Any]]:
    """Build the settings in the order in which `_Generate.request` takes them, and the seed's buttons."""
    host = atelier.host
    side, sizes = host.model.native_side, side_range(host.model.native_side, step=host.model.pixels_per_latent * 8)

    def draw(name: str, **more: Any) -> Any:
        return widget(KNOWN[name], words, info=False, elem_id=f"atelier_generate_{name}", **more)

    with gr.Row(elem_classes="atelier-seed"):
        seed = draw("seed", scale=3, min_width=110)
        with gr.Column(scale=1, min_width=120, elem_classes="atelier-bw-buttons"):
            dice = gr.Button(words("generate.random"), size="sm", elem_id="atelier_generate_random")
            reuse = gr.Button(words("generate.reuse"), size="sm", elem_id="atelier_generate_reuse")
        batch = draw("batch", scale=3, min_width=160)
    steps = draw("steps")
    with gr.Accordion(words("generate.more"), open=False, elem_id="atelier_generate_more"):
        with gr.Row():
            sampler = gr.Dropdown(
                list(host.samplers),
                value=host.samplers[0],
                label=words.said(KNOWN["sampler"].label),
                elem_id="atelier_generate_sampler",
            )
            cfg = draw("cfg_scale")
        with gr.Row():
            width, height = draw("width", **sizes), draw("height", **sizes)
            skip = draw("clip_skip", maximum=host.model.text_layers)
    settings = [seed, batch, steps, sampler, cfg, width, height, skip]
    names = ("seed", "batch", "steps", "sampler", "cfg", "width", "height", "clip_skip")
    for component, name in zip(settings, names, strict=True):
        # A size belongs to a model: another model starts at its own.
        key = f"generate.{name}.{side}" if name in ("width", "height") else f"generate.{name}"
        good = {"sampler": lambda value: value in host.samplers}.get(name, _is_number)
        remember(atelier, component, key, good=good)
    return settings, {"random": dice, "reuse": reuse}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


class _Generate:
    """The handlers."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def request(self, prompt: str, negative: str, seed: Any, batch: Any, steps: Any, *more: Any) -> GenerateRequest:
        """Return the order that the fields describe; a random seed is drawn here."""
        sampler, cfg, width, height, skip = more
        return GenerateRequest(
            prompt=prompt or "",
            negative=negative or "",
            seed=chosen_seed(seed),
            steps=compat.number(steps, KNOWN["steps"].default),
            cfg_scale=compat.number(cfg, KNOWN["cfg_scale"].default),
            width=compat.number(width, 0, int) or None,
            height=compat.number(height, 0, int) or None,
            batch=compat.number(batch, KNOWN["batch"].default),
            sampler=sampler or self._atelier.host.samplers[0],
            clip_skip=compat.number(skip, KNOWN["clip_skip"].default),
        )

    def start(self, prompt: str, active: bool, *values: Any) -> Iterator[tuple[str, Any]]:
        """Order pictures and show them as they come."""
        try:
            request = self.request(prompt if active else without_block_weights(prompt or ""), *values)
        except AtelierError as error:
            yield error_html(error, self._words), compat.update()
            return

        yield from self._show(submit(self._atelier, request, self._words("generate.job")))

    def resume(self) -> Iterator[tuple[str, Any]]:
        """Show the newest order again when the page is opened: its pictures, or its progress while it runs."""
        jobs = self._atelier.queue.jobs(KIND)
        if jobs:
            yield from self._show(jobs[-1])
        else:
            yield compat.update(), compat.update()  # gradio 4 takes a generator without a value for empty values

    def cancel(self) -> Any:
        """Stop the orders that run or wait; finished pictures stay.

        Whoever follows the job says that it is stopping: an answer from here could come after its end.
        """
        return compat.update() if self._atelier.queue.stop(KIND) else note_html(self._words("generate.nothing_runs"))

    def reuse(self) -> Any:
        """Return the seed of the newest picture."""
        seed = last_seed(self._atelier.queue)
        return compat.update() if seed is None else seed

    def _show(self, job: Job) -> Iterator[tuple[str, Any]]:
        shown: Any = None
        for now in follow(job):
            made: Rendered | None = now.result or now.partial
            pictures = compat.update()
            if made is not None and made.pictures and made is not shown:
                shown = made
                caption = self._words("generate.caption", seed="{}")
                pictures = [(str(one.path), caption.format(one.seed)) for one in made.pictures]
            said = progress_html(now, self._atelier.queue, self._words) or self._end(now, made)
            if now.stopped and not now.ended:
                said = note_html(self._words("generate.stopping"))
            yield said, pictures

    def _end(self, job: Job, made: Rendered | None) -> str:
        words = self._words
        if made is None or not made.pictures:
            return note_html(words("generate.stopped_early"))
        kind = "generate.stopped" if job.state == STOPPED else "generate.finished"
        said = words(
            kind, n=len(made.pictures), time=duration(made.seconds, words), folder=made.pictures[0].path.parent
        )
        notes = notes_html(made.notes, words, kind="warning")
        return note_html(said, kind="good") + errors_html(made.problems, words) + notes

"""The planner: which weights to try next, their pictures, and a click on one of them as the next step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.plan import BlockPlan
from lib_lora.blocks.tag import strip_tags
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import GenerateRequest
from lib_lora.i18n.words import Words, duration
from lib_lora.merge.spec import resolve_blocks, shown_weights
from lib_lora.options import find, options_of
from lib_lora.sentences import Sentence, say
from lib_lora.services.atelier import Atelier
from lib_lora.services.block_plan import PlanOptions, read_vector
from lib_lora.services.jobs.job import STOPPED, Job
from lib_lora.services.plan_pictures import KIND, SEEDS, PlanOrder, PlanPictures, order_of, submit
from lib_lora.services.speed import Speed
from lib_lora.ui import compat
from lib_lora.ui.block_weight.row import WATCH, watch_html
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.messages import error_html, errors_html, follow, note_html, notes_html, progress_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.picture_inputs import chosen_seed
from lib_lora.ui.remember import remember
from lib_lora.ui.workshop.planner_view import FORM, VECTOR, pictures_html, row_html, texts_html

Facts = dict[str, Any]
KNOWN = {one.name: one for one in options_of(GenerateRequest)}
ASKED = ("prompt", "seed", "steps", "negative", "cfg_scale", "width", "height")
"""What of a picture is asked here; the rest is the host's usual."""


@dataclass(frozen=True)
class PlannerPanel:
    """What the planner is made of."""

    row: Any
    form: Any
    watch: Any
    asked: dict[str, Any]
    seeds: Any
    estimate: Any
    start: Any
    stop: Any
    status: Any
    pictures: Any
    texts: Any
    read: Any
    fill: Any
    take: Any
    taken: Any


def draw(atelier: Atelier, words: Words) -> PlannerPanel:
    """Draw the planner below the chosen file's weights; it is out of sight until a file is chosen."""
    # Out of sight without a row (style.css): gradio 6 would show what is hidden in it.
    with gr.Column(**ident("section")):
        gr.HTML(
            f'<h4 class="atelier-group">{words("planner.title")}</h4>'
            f'<p class="atelier-hint">{words("planner.info")}</p>'
        )
        # One look at all fields: an event of each, with all of them as inputs, would be n · n connections.
        fields = [VECTOR, FORM, *(f"atelier_plan_{name}" for name in ("seeds", *ASKED))]
        gr.HTML(watch_html(fields, f"atelier_plan_{WATCH}", kind="values"))
        watch = gr.Textbox("", visible=HIDDEN, label="watch", **ident(WATCH))
        row = gr.HTML("", **ident("row"))
        form = gr.Textbox("", visible=HIDDEN, label="form", elem_id=FORM)
        asked, seeds = _draw_asked(atelier, words)
        estimate = gr.HTML("", elem_classes="atelier-estimate", **ident("estimate"))
        with gr.Row(elem_classes="atelier-bw-line"):
            start = gr.Button(words("planner.render"), variant="primary", min_width=160, **ident("start"))
            stop = gr.Button(words("block_weight.stop_keep"), min_width=120, **ident("stop"))
        status, pictures = gr.HTML("", **ident("status")), gr.HTML("", **ident("pictures"))
        below = _draw_texts(words)
    ordered = {name: asked[name] for name in ASKED}
    return PlannerPanel(
        row,
        form,
        watch,
        ordered,
        seeds,
        estimate,
        start,
        stop,
        status,
        pictures,
        *below,
    )


def _draw_asked(atelier: Atelier, words: Words) -> tuple[dict[str, Any], Any]:
    """Draw what is asked of the pictures; return the fields by name, and that of the seeds."""

    def ask(name: str, **more: Any) -> Any:
        drawn = widget(KNOWN[name], words, info=False, **ident(name), **more)
        if name != "prompt":
            remember(atelier, drawn, f"planner.{name}")
        return drawn

    with gr.Row(elem_classes="atelier-bw-line"):
        asked = {"prompt": ask("prompt", value="", lines=2, max_lines=4, scale=4, min_width=320)}
        asked["seed"] = ask("seed", value=1, scale=1, min_width=110)
        seeds = widget(SEEDS, words, info=False, scale=1, min_width=80, **ident("seeds"))
    with gr.Accordion(words("planner.more"), open=False), gr.Row():
        asked["steps"] = ask("steps", min_width=140)
        asked["negative"] = ask("negative", min_width=220)
        asked["cfg_scale"] = ask("cfg_scale", min_width=140)
        for name in ("width", "height"):  # a slider would have a size, and each model has its own
            free = replace(KNOWN[name], step=None)
            asked[name] = widget(free, words, info=words("planner.own_size"), min_width=110, **ident(name))
    return asked, seeds


def _draw_texts(words: Words) -> tuple[Any, ...]:
    """Draw texts for other programs and the way back; return texts, field, fill value, button, message."""
    with gr.Accordion(words("planner.texts"), open=False, **ident("texts_box")):
        texts = gr.HTML("", **ident("texts"))
        with gr.Row(elem_classes="atelier-bw-line"):
            read = gr.Textbox("", label=words("planner.read"), max_lines=3, scale=5, **ident("read"))
            fill = widget(find(PlanOptions, "fill"), words, info=False, value=0, min_width=90, **ident("fill"))
            take = gr.Button(words("planner.read_take"), size="sm", min_width=120, **ident("take"))
        taken = gr.HTML("", **ident("taken"))
    return texts, read, fill, take, taken


def ident(thing: str) -> dict[str, str]:
    """Return the keyword that gives a part of the planner its place in the page."""
    return {"elem_id": f"atelier_plan_{thing}"}


def wire(
    parts: PlannerPanel, atelier: Atelier, words: Words, *, facts: Any, vector: Any, looked: Any, prompt: Any = None
) -> None:
    """Wire a drawn planner to the chosen file.

    Args:
        parts: the planner.
        atelier: host, job queues, folders.
        words: the page's language.
        facts: the state that holds what is known of the chosen file.
        vector: the textbox with its weights: the planner reads and writes them there.
        looked: the event after which another file's facts are there.
        prompt: that of the page where pictures are made; the planner begins with it.
    """
    do = Handlers(atelier, words)
    others = [prompt] if prompt is not None else []
    asked, light = list(parts.asked.values()), {"queue": False, **compat.event_kw()}
    shown = [parts.status, parts.pictures]
    looked.then(
        do.open,
        [facts, parts.asked["prompt"], *others],
        [parts.row, parts.asked["prompt"], *shown],
        **compat.event_kw(side_by_side=True),
    )
    inputs = [facts, vector, parts.form, parts.seeds, *asked]
    parts.watch.change(do.planned, inputs, [parts.estimate, parts.texts], **light)
    parts.start.click(do.start, inputs, shown, **compat.event_kw(side_by_side=True))
    parts.stop.click(do.stop, None, parts.status, **light)
    parts.take.click(do.read, [parts.read, parts.fill, facts], [vector, parts.taken], **light)


class Handlers:
    """The events of the planner in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def open(self, facts: Facts, own: str, other: str = "") -> Iterator[list[Any]]:
        """Show the row of a file, and what was rendered of it last.

        Yields values for the row, the prompt, the status and the pictures.
        """
        blocks = self._blocks(facts)
        if not blocks:
            yield ["", compat.update(), "", ""]
            return
        layout = shown_weights(BlockWeights.uniform(full_layout(facts["family"]), 1), blocks, facts["family"]).layout
        changes = {line["block"]: line["delta"] for line in facts["blocks"]}
        amounts = {name: changes[name] for name in layout.names if name in blocks}
        row = row_html(facts["name"], layout, amounts, self._atelier.host.presets, self._words)
        words = strip_tags(other or "").strip(" ,")  # a tag alone draws nothing
        prompt = compat.update() if own else other if words else facts["trigger"]
        yield [row, prompt, "", ""]
        job = self._atelier.queue.newest(KIND, facts["name"])
        for shown in self._follow(job) if job else ():
            yield [compat.update(), compat.update(), *shown]

    def planned(self, facts: Facts, vector: str, form: str, seeds: Any, *values: Any) -> tuple[str, Any]:
        """Return how many pictures and how long, with what may surprise; and the texts for others."""
        if not self._blocks(facts) or not vector:
            return "", compat.update()
        words = self._words
        try:
            plan = self._plan(facts, vector, form)
        except AtelierError as error:
            return error_html(error, words), compat.update()
        texts = texts_html(plan, facts["name"], words)
        try:
            order = self._order(facts, plan, seeds, values)
        except AtelierError as error:
            return error_html(error, words), texts
        return f"{self._estimate(order)}{self._notes(plan.notes)}", texts

    def start(self, facts: Facts, vector: str, form: str, seeds: Any, *values: Any) -> Iterator[list[Any]]:
        """Order the pictures and show them as they come."""
        try:
            if not self._blocks(facts):
                raise InputError("No LoRA is chosen", cure="Choose one from the list.")
            order = self._order(facts, self._plan(facts, vector, form), seeds, values)
        except AtelierError as error:
            yield [error_html(error, self._words), compat.update()]
            return
        yield from self._follow(submit(self._atelier, order, self._words("planner.job", name=order.lora)))

    def stop(self) -> Any:
        """Stop the pictures that are rendered or wait; what is finished stays."""
        return compat.update() if self._atelier.queue.stop(KIND) else note_html(self._words("generate.nothing_runs"))

    def read(self, text: str, fill: Any, facts: Facts) -> tuple[Any, str]:
        """Return weights that somebody copied from elsewhere, for the chosen file, and what was remarked."""
        words = self._words
        try:
            if not self._blocks(facts):
                raise InputError("No LoRA is chosen", cure="Choose one from the list.")
            presets, family = self._atelier.host.presets, facts["family"]
            name, weights, notes = read_vector(text or "", presets, family)
            whole, _ = weights.convert(full_layout(family), fill=compat.number(fill, 0))
        except AtelierError as error:
            return compat.update(), error_html(error, words)
        vector = shown_weights(whole, self._blocks(facts), family).format()
        said = note_html(words("planner.read_done", name=name or words("planner.unnamed")), kind="good")
        return vector, said + self._notes(notes)

    # -- from the page to a plan --------------------------------------------------------------------------------

    def _blocks(self, facts: Facts) -> list[str]:
        """Return the blocks with modules that have a weight; none for a file of no known family."""
        if not facts:
            return []
        try:
            names = full_layout(facts["family"]).names
        except InputError:
            return []
        return [line["block"] for line in facts["blocks"] if line["block"] in names]

    def _plan(self, facts: Facts, vector: str, form: str) -> BlockPlan:
        family, blocks = facts["family"], self._blocks(facts)
        weights = resolve_blocks(vector or "", self._atelier.host.presets, family)
        if weights is None:
            raise InputError("There are no block weights", where=say("vector"), cure="Choose a preset or type numbers.")
        base = shown_weights(weights, blocks, family)
        said = json.loads(form) if form else {}
        fixed = {name for name in base.layout.names if name in said.get("fixed", ()) or name not in blocks}
        step, mode = (find(PlanOptions, name).read(said.get(name, _usual(name))) for name in ("step", "mode"))
        return BlockPlan(base, frozenset(fixed), step, mode)

    def _order(self, facts: Facts, plan: BlockPlan, seeds: Any, values: Any) -> PlanOrder:
        given = dict(zip(ASKED, values, strict=True))
        host = self._atelier.host
        request = GenerateRequest(
            prompt=given["prompt"] or "",
            negative=given["negative"] or "",
            seed=chosen_seed(given["seed"]),
            steps=compat.number(given["steps"], KNOWN["steps"].default),
            cfg_scale=compat.number(given["cfg_scale"], KNOWN["cfg_scale"].default),
            width=compat.number(given["width"], 0, int) or None,
            height=compat.number(given["height"], 0, int) or None,
        )
        return order_of(facts["name"], plan, request, host, seeds=compat.number(seeds, SEEDS.default, int))

    def _estimate(self, order: PlanOrder) -> str:
        model = self._atelier.host.model
        seconds = Speed.of(self._atelier).seconds(
            model.name, order.request, side=model.native_side, pictures=order.pictures
        )
        if seconds is None:
            return self._words("block_weight.estimate_count", n=order.pictures)
        return self._words("block_weight.estimate", n=order.pictures, time=duration(seconds, self._words))

    # -- from a job to the page ---------------------------------------------------------------------------------

    def _follow(self, job: Job) -> Iterator[list[Any]]:
        seen: Any = None
        for now in follow(job):
            made: PlanPictures | None = now.result or now.partial
            pictures = compat.update()
            if made is not None and made is not seen:
                seen, pictures = made, pictures_html(made, self._atelier.folders, self._words)
            said = progress_html(now, self._atelier.queue, self._words) or self._end(now, made)
            if now.stopped and not now.ended:
                said = note_html(self._words("generate.stopping"))
            yield [said, pictures]

    def _end(self, job: Job, made: PlanPictures | None) -> str:
        words = self._words
        if made is None or not made.shown:
            return note_html(words("generate.stopped_early"))
        count = sum(len(one.files) for one in made.shown)
        kind = "generate.stopped" if job.state == STOPPED else "generate.finished"
        folder = made.shown[0].files[0].parent
        said = note_html(words(kind, n=count, time=duration(made.seconds, words), folder=folder), kind="good")
        return said + errors_html(made.problems, words) + self._notes(made.notes)

    def _notes(self, notes: tuple[Sentence, ...] | tuple[str, ...]) -> str:
        return notes_html(notes, self._words, kind="warning")


def _usual(name: str) -> Any:
    return find(PlanOptions, name).default

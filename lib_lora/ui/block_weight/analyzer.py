"""The Effective Block Analyzer's fields, its estimate, its growing grid and its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib_lora.analysis.options import AnalyzeOptions, parse_range
from lib_lora.blocks.layouts import Layout, attention_layout, full_layout, unet_families
from lib_lora.blocks.tag import Span
from lib_lora.blocks.tag_edit import change_tag
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words, duration
from lib_lora.options import options_of
from lib_lora.sentences import say
from lib_lora.services.analysis_order import KIND, AnalysisOrder, Found, order_of, submit
from lib_lora.services.atelier import Atelier
from lib_lora.services.block_tiers import vector_of
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.jobs.job import STOPPED, Job
from lib_lora.services.prompt_tags import index_of
from lib_lora.services.speed import Speed
from lib_lora.ui import compat
from lib_lora.ui.block_weight.analyzer_view import ended, pictures
from lib_lora.ui.block_weight.row import WATCH, watch_html
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.messages import error_html, follow, note_html, progress_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.picture_inputs import PictureInputs
from lib_lora.ui.remember import remember

ALSO = {"0,1": "off", "1,0": "alone", "2,0": "alone_doubled", "0,2": "off_doubled", "0.5,1": "half"}
"""Ranges (examined block, all others) that are offered beside the main one, and what each of them asks."""
KNOWN = {one.name: one for one in options_of(AnalyzeOptions)}


@dataclass(frozen=True)
class _Widgets:
    """The analyzer's own widgets."""

    fields: list[Any]
    estimate: Any
    start: Any
    stop: Any
    status: Any
    grids: Any
    table: Any
    files: Any
    use: Any
    moved: Any

    @property
    def shown(self) -> list[Any]:
        """What the handlers return values for."""
        return [self.status, self.grids, self.table, self.files, self.use]


@dataclass(frozen=True)
class AnalyzerPanel:
    """What `wire` needs.

    Attributes:
        watch: hidden; in a WebUI's page the script writes into it when the picture's settings have changed.
    """

    watch: Any
    widgets: _Widgets
    atelier: Atelier
    words: Words
    facts: FileFacts
    accordion: Any

    def told(self, found: Found) -> list[Any]:
        """Return what the widgets show of an analysis that was made before."""
        return [ended(found, self.words), *pictures(found, self.atelier, self.words)]


def draw(
    atelier: Atelier,
    words: Words,
    files: FileFacts,
    *,
    place: str,
    threshold: int | None = None,
    watched: Sequence[str] = (),
) -> AnalyzerPanel:
    """Draw the analyzer inside the open accordion.

    Args:
        atelier: host, job queues, folders.
        words: the page's language.
        files: facts of LoRA files.
        place: part of the element ids.
        threshold: what the page's owner has set it to at the start; None: what was used last.
        watched: element ids of a WebUI's widgets whose values the estimate follows.
    """
    box = f"atelier_{place}_analyzer_{WATCH}"
    title = words("block_weight.analyzer")
    with gr.Accordion(title, open=False, elem_id=f"atelier_{place}_analyzer") as accordion:
        hint = f'<p class="atelier-hint">{words("block_weight.analyzer_hint")}</p>'
        gr.HTML(hint + (watch_html(watched, box, kind="values") if watched else ""))
        watch = gr.Textbox("", visible=HIDDEN, label="watch", elem_id=box)
        widgets = _widgets(atelier, words, place, threshold)
    return AnalyzerPanel(watch, widgets, atelier, words, files, accordion)


def wire(panel: AnalyzerPanel, prompt: Any, lora: Any, picture: PictureInputs, *, changed: Sequence[Any]) -> None:
    """Wire a drawn analyzer to a prompt, its chosen LoRA and the picture's settings; ``changed``: events of those."""
    widgets = panel.widgets
    logic = _Analyzer(panel.atelier, panel.words, panel.facts, picture)
    own = len(widgets.fields)
    inputs = [prompt, lora, *widgets.fields, *picture.components]

    def estimate(now: str, label: str, *values: Any) -> str:
        return logic.estimate(now, label, values[:own], values[own:])

    def start(now: str, label: str, *values: Any) -> Iterator[list[Any]]:
        yield from logic.start(now, label, values[:own], values[own:])

    light = {"queue": False, **compat.event_kw()}
    for event in (lora.change, *(field.change for field in widgets.fields), *changed):
        compat.nudge(event, widgets.moved)
    compat.with_many(widgets.moved.change, estimate, inputs, widgets.estimate, **light)
    whole = [*inputs, *picture.heavy]
    widgets.start.click(start, whole, widgets.shown, **compat.event_kw(side_by_side=True))
    widgets.use.click(logic.use, [prompt, lora], [prompt, widgets.status], **compat.event_kw())
    widgets.stop.click(logic.stop, None, widgets.status, **light)
    compat.page_being_built().load(logic.resume, None, widgets.shown, **compat.event_kw(side_by_side=True))


def _widgets(atelier: Atelier, words: Words, place: str, level: int | None) -> _Widgets:
    def ident(thing: str) -> dict[str, str]:
        return {"elem_id": f"atelier_{place}_analyzer_{thing}"}

    def draw(name: str, *, info: bool = False, **more: Any) -> Any:
        return widget(KNOWN[name], words, info=info, **ident(name), **more)

    one_examined, all_others = parse_range(KNOWN["range"].default)
    with gr.Row():
        examined = gr.Number(one_examined, label=words("block_weight.examined"), min_width=130, **ident("examined"))
        others = gr.Number(all_others, label=words("block_weight.others"), min_width=90, **ident("others"))
        seeds = draw("seeds", min_width=70)
        of_file = words("block_weight.blocks_file")
        blocks = gr.Dropdown(
            [of_file, *(f"{n}ALL" for n in sorted({one.length for one in layouts_of(atelier)}))],
            value=of_file,
            allow_custom_value=True,
            label=words.said(KNOWN["blocks"].label),
            min_width=150,
            scale=2,
            **ident("blocks"),
        )
    also = gr.CheckboxGroup(
        [(f"{words(f'block_weight.also_{key}')} ({text.replace(',', ', ')})", text) for text, key in ALSO.items()],
        label=words.said(KNOWN["also"].label),
        info=words("block_weight.also_hint"),
        **ident("also"),
    )
    tier = _tier_choice(words, **ident("tier"))
    with gr.Accordion(words("block_weight.for_prediction"), open=False), gr.Row():
        asked = [draw(name, info=True) for name in ("trigger", "neutral", "levels", "beside")]
    with gr.Accordion(words("block_weight.how_shown"), open=False), gr.Row():
        colors = [words(f"block_weight.{color}") for color in KNOWN["color"].choices]
        color = gr.Radio(colors, value=colors[0], label=words.said(KNOWN["color"].label), **ident("color"))
        threshold = draw("threshold", info=True, **({} if level is None else {"value": level}))
        gain = draw("gain", info=True)
        rows = draw("rows")
    estimate = gr.HTML("", elem_classes="atelier-estimate", **ident("estimate"))
    with gr.Row(elem_classes="atelier-bw-line"):
        start = gr.Button(words("block_weight.analyze"), variant="primary", scale=1, min_width=120, **ident("start"))
        stop = gr.Button(words("block_weight.stop_keep"), scale=1, min_width=120, **ident("stop"))
    status = gr.HTML("", **ident("status"))
    grids = gr.HTML("", **ident("grids"))
    empty = {"headers": [words("block_weight.block")], "data": [[""]]}  # gradio 4 cannot draw a table without headings
    table = gr.Dataframe(empty, interactive=False, label=words("block_weight.table"), visible=False, **ident("table"))
    files = gr.File(label=words("block_weight.files"), interactive=False, visible=False, **ident("files"))
    use = gr.Button(words("block_weight.use_result"), visible=False, size="sm", **ident("use"))
    kept = {"gain": gain, "rows": rows, "seeds": seeds, "also": also} | (
        {"threshold": threshold} if level is None else {}
    )
    for key, component in kept.items():
        remember(atelier, component, f"analyzer.{key}")
    fields = [examined, others, also, blocks, seeds, color, threshold, gain, rows, tier, *asked]
    moved = gr.Textbox("", visible=HIDDEN, label="moved")
    return _Widgets(fields, estimate, start, stop, status, grids, table, files, use, moved)


def _tier_choice(words: Words, **more: Any) -> Any:
    known = KNOWN["tier"]
    kinds = [(words(f"block_weight.tier_{kind}"), kind) for kind in known.choices]
    return gr.Radio(kinds, value=known.default, label=words.said(known.label), info=words.said(known.help), **more)


def layouts_of(atelier: Atelier) -> list[Layout]:
    """Return the layouts that may be meant: the model's, or those of all models that the host can change to."""
    families = unet_families() if atelier.changing_model else (atelier.host.model.family,)
    return list(dict.fromkeys(layout for one in families for layout in (full_layout(one), attention_layout(one))))


class _Analyzer:
    """The handlers."""

    def __init__(self, atelier: Atelier, words: Words, files: FileFacts, picture: PictureInputs) -> None:
        self._atelier, self._words, self._files, self._picture = atelier, words, files, picture
        self._speed = Speed.of(atelier)

    def estimate(self, prompt: str, label: str, fields: Any, values: Any) -> str:
        """Return how many pictures and how long, or why it cannot be started."""
        words = self._words
        try:
            order = self._order(prompt, label, fields, values)
        except AtelierError as error:
            return error_html(error, words) if prompt and "<lora" in prompt.lower() else ""
        if not order.pictures:
            return words("block_weight.estimate_quick")
        model = self._atelier.host.model
        seconds = self._speed.seconds(model.name, order.request, side=model.native_side, pictures=order.pictures)
        if seconds is None:
            return words("block_weight.estimate_count", n=order.pictures)
        return words("block_weight.estimate", n=order.pictures, time=duration(seconds, words))

    def start(self, prompt: str, label: str, fields: Any, values: Any) -> Iterator[list[Any]]:
        """Order the analysis and show it growing."""
        try:
            order = self._order(prompt, label, fields, values)
        except AtelierError as error:
            yield [error_html(error, self._words), *[compat.update()] * 4]
            return

        yield from self._show(submit(self._atelier, order, self._words("block_weight.analyzer_job")))

    def resume(self) -> Iterator[list[Any]]:
        """Show the newest analysis again when the page is opened while it runs."""
        jobs = self._atelier.queue.jobs(KIND)
        if jobs and not jobs[-1].ended:
            yield from self._show(jobs[-1])
        else:
            yield [compat.update()] * 5  # gradio 4 takes a generator without a value for empty values

    def stop(self) -> Any:
        """Stop the analysis that runs or waits; what is finished is kept.

        Whoever follows the job says that it is stopping: an answer from here could come after its end.
        """
        stopped = self._atelier.queue.stop(KIND)
        return compat.update() if stopped else note_html(self._words("block_weight.nothing_runs"))

    def use(self, prompt: str, label: str) -> tuple[Any, str]:
        """Write the weights that the finished analysis suggests into the chosen tag; returns prompt and message."""
        jobs = [job for job in self._atelier.queue.jobs(KIND) if job.result is not None and job.result.tiers]
        if not jobs:
            return compat.update(), note_html(self._words("block_weight.nothing_runs"))
        weights = vector_of(jobs[-1].result.tiers[-1], self._atelier.host.model.family)
        try:
            place = index_of(prompt, label)
            changed = change_tag(prompt, place, lambda tag: replace(tag, weights=Span(weights.format(), 0), x=None))
        except AtelierError as error:
            return compat.update(), error_html(error, self._words)
        kept = ", ".join(name for name, value in weights.as_dict().items() if value)
        return changed, note_html(self._words("block_weight.used_result", blocks=kept), kind="good")

    def _order(self, prompt: str, label: str, fields: Any, values: Any) -> AnalysisOrder:
        examined, others, also, blocks, seeds, color, threshold, gain, rows, tier, *asked = fields
        trigger, neutral, levels, beside = asked
        words = self._words
        if None in (examined, others, threshold, gain):
            cure = say("Fill in examined block and all others, for example 0 and 1.")
            raise InputError("A number of the analyzer is missing", cure=cure)
        chosen = AnalyzeOptions(
            lora=label or "",
            range=f"{examined},{others}",
            also=tuple(also or ()),
            blocks="" if blocks in (None, words("block_weight.blocks_file")) else str(blocks),
            seeds=compat.number(seeds, KNOWN["seeds"].default),
            threshold=threshold,
            color="white" if color == words("block_weight.white") else KNOWN["color"].default,
            gain=gain,
            rows=bool(rows),
            tier=tier or KNOWN["tier"].default,
            trigger=_lines(trigger),
            neutral=_lines(neutral),
            levels=compat.number(levels, KNOWN["levels"].default),
            beside=_lines(beside),
        )
        request = self._picture.request(prompt or "", *values)
        return order_of(request, chosen, self._atelier.host, self._files)

    def _show(self, job: Job) -> Iterator[list[Any]]:
        shown: Any = None
        for now in follow(job):
            found: Found | None = now.result or now.partial
            if found is shown or found is None or not (found.analyses or found.tiers):
                updates = [compat.update()] * 4
            else:
                shown = found
                updates = pictures(found, self._atelier, self._words)
            said = progress_html(now, self._atelier.queue, self._words)
            said = said or ended(found, self._words, stopped=now.state == STOPPED)
            if now.stopped and not now.ended:
                said = note_html(self._words("block_weight.stopping"))
            yield [said, *updates]


def _lines(text: str | None) -> tuple[str, ...]:
    """Return the lines of a box that say something."""
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())

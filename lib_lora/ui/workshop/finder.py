"""Find weights: a search for the block weights that keep the subject and change the model least, and its result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lib_lora.analysis.fit.options import FitOptions
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words, duration
from lib_lora.merge.spec import shown_weights
from lib_lora.options import Option, options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.fit_order import KIND, allowed, predictions, seconds_for, submit
from lib_lora.services.fitted import Fitted
from lib_lora.services.jobs.job import STOPPED, Job
from lib_lora.ui import compat
from lib_lora.ui.block_weight.row import WATCH, watch_html
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.messages import error_html, follow, note_html, progress_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.remember import remember
from lib_lora.ui.workshop import work
from lib_lora.ui.workshop.finder_view import found_html

Facts = dict[str, Any]
Held = dict[str, Any]
"""What the page keeps of a result: LoRA and vector in the layout that the file's blocks are written in."""
KNOWN = {one.name: one for one in options_of(FitOptions, but=("lora",))}
FIRST = ("images", "trigger")
SECOND = ("keep", "halves")
COUNTED = ("images", "trigger", "neutral", "rounds", "levels", "rendered", "timing", "holdout")
"""What the time of a search depends on."""
ACTS = {"take": "finder.take", "use": "workshop.use", "save": "finder.save", "bake": "workshop.bake"}
"""What can be done with found weights, and how its button is called."""
MORE = (
    ("neutral", "masks", "prompts"),
    ("rendered", "rounds", "levels", "holdout"),
    ("low", "high", "timing"),
    ("seeds", "seed", "clip_skip"),
)
"""Rows of the rest."""
LOOSE = ("images", "masks", "trigger", "neutral", "prompts")
"""What belongs to one LoRA; the rest is remembered."""


@dataclass(frozen=True)
class FinderPanel:
    """What the finder is made of; ``take``, ``use``, ``save`` and ``bake`` do something with what was found."""

    asked: dict[str, Any]
    watch: Any
    estimate: Any
    start: Any
    stop: Any
    status: Any
    result: Any
    acts: Any
    take: Any
    use: Any
    save: Any
    bake: Any
    said: Any
    found: Any


PLACES = {"clip_skip": "clip_skips"}
"""Parts whose own name would end as a button that a WebUI's keyboard shortcuts press."""


def ident(thing: str) -> dict[str, str]:
    """Return the keyword that gives a part of the finder its place in the page."""
    return {"elem_id": f"atelier_find_{PLACES.get(thing, thing)}"}


def draw(atelier: Atelier, words: Words) -> FinderPanel:
    """Draw the finder, closed, below the planner."""
    with gr.Accordion(words("finder.title"), open=False, **ident("box")):
        gr.HTML(f'<p class="atelier-hint">{words("finder.info")} {words("finder.no_pictures")}</p>')
        # One look at all fields, as the planner's: an event of each would be n · n connections.
        gr.HTML(watch_html([ident(name)["elem_id"] for name in COUNTED], ident(WATCH)["elem_id"], kind="values"))
        watch = gr.Textbox("", visible=HIDDEN, label="watch", **ident(WATCH))
        asked = _draw_asked(atelier, words)
        estimate = gr.HTML("", elem_classes="atelier-estimate", **ident("estimate"))
        with gr.Row(elem_classes="atelier-bw-line"):
            start = gr.Button(words("finder.start"), variant="primary", min_width=160, **ident("start"))
            stop = gr.Button(words("finder.stop"), min_width=120, **ident("stop"))
        status, result = gr.HTML("", **ident("status")), gr.HTML("", **ident("result"))
        with gr.Row(visible=False, elem_classes="atelier-bw-line", **ident("acts")) as acts:
            acting = {
                name: gr.Button(words(said), size="sm", min_width=120, **ident(name)) for name, said in ACTS.items()
            }
        said = gr.HTML("", **ident("said"))
    found = gr.State({})
    return FinderPanel(asked, watch, estimate, start, stop, status, result, acts, said=said, found=found, **acting)


def _draw_asked(atelier: Atelier, words: Words) -> dict[str, Any]:
    """Draw the options; return their widgets by name."""

    def ask(one: Option, **more: Any) -> Any:
        drawn = widget(one, words, **ident(one.name), **more)
        if one.name not in LOOSE:
            remember(atelier, drawn, f"finder.{one.name}")
        return drawn

    asked: dict[str, Any] = {}
    with gr.Row():
        asked |= {name: ask(KNOWN[name], min_width=260) for name in FIRST}
    with gr.Row():
        asked |= {name: ask(KNOWN[name], min_width=200, scale=3 if name == "keep" else 1) for name in SECOND}
    with gr.Accordion(words("finder.more"), open=False, **ident("more")):
        for names in MORE:
            with gr.Row():
                asked |= {name: ask(KNOWN[name], min_width=190) for name in names}
    return asked


def wire(parts: FinderPanel, atelier: Atelier, words: Words, *, facts: Any, looked: Any) -> None:
    """Wire a drawn finder to the chosen file.

    Args:
        parts: the finder.
        atelier: host, job queues, folders.
        words: the page's language.
        facts: the state that holds what is known of the chosen file.
        looked: the event after which another file's facts are there.
    """
    do = Handlers(atelier, words)
    light = {"queue": False, **compat.event_kw()}
    asked = [parts.asked[name] for name in KNOWN]
    shown = [parts.status, parts.result, parts.acts, parts.said, parts.found]
    looked.then(do.open, [facts], shown, **compat.event_kw(side_by_side=True))
    looked.then(do.estimate, [facts, *asked], parts.estimate, **light)
    parts.watch.change(do.estimate, [facts, *asked], parts.estimate, **light)
    parts.start.click(do.start, [facts, *asked], shown, **compat.event_kw(side_by_side=True))
    parts.stop.click(do.stop, None, parts.status, **light)


class Handlers:
    """The events of the finder in one language."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def open(self, facts: Facts) -> Iterator[list[Any]]:
        """Show what was found for a file last, or is being searched."""
        yield ["", "", compat.update(visible=False), "", {}]
        job = self._atelier.queue.newest(KIND, facts["name"]) if facts else None
        if job is not None and job.error is None:
            yield from self._follow(job, facts)

    def estimate(self, facts: Facts, *values: Any) -> str:
        """Return how much is asked of the model, and how long that takes; nothing where it cannot be told yet."""
        if not facts:
            return ""
        try:
            options = self._options(facts, values)
        except AtelierError:  # said when it is started
            return ""
        host, words = self._atelier.host, self._words
        count = predictions(options, host, blocks=len(facts["blocks"]))
        seconds = seconds_for(count, self._atelier)
        if seconds is None:
            return words("finder.estimate_count", n=f"{count:,}")
        return words("finder.estimate", n=f"{count:,}", time=duration(seconds, words))

    def start(self, facts: Facts, *values: Any) -> Iterator[list[Any]]:
        """Order the search and show what it does, then what it found."""
        try:
            if not facts:
                raise InputError("No LoRA is chosen", cure="Choose one from the list.")
            job = submit(self._atelier, self._options(facts, values), self._words.language)
        except AtelierError as error:
            yield [error_html(error, self._words), *[compat.update()] * 4]
            return
        yield from self._follow(job, facts)

    def stop(self) -> Any:
        """Stop the searches that run or wait; the rounds that are done are kept."""
        return compat.update() if self._atelier.queue.stop(KIND) else note_html(self._words("finder.nothing_runs"))

    def weights(self, found: Held, facts: Facts) -> tuple[str | None, str]:
        """Return the found vector for the field of the chosen file, and a message where there is none."""

        def given() -> str:
            if not found or found["lora"] != facts.get("name"):
                raise InputError(
                    "There are no found weights for the chosen LoRA",
                    cure="Press Find the weights, and wait for its end.",
                )
            return str(found["vector"])

        return work.tried(self._words, given)

    def _options(self, facts: Facts, values: tuple[Any, ...]) -> FitOptions:
        given = {name: _value(KNOWN[name], value) for name, value in zip(KNOWN, values, strict=True)}
        return allowed(FitOptions(facts["name"], **given), self._atelier)

    def _follow(self, job: Job, facts: Facts) -> Iterator[list[Any]]:
        words, seen = self._words, None
        for now in follow(job):
            found: Fitted | None = now.result or now.partial
            rest: list[Any] = [compat.update()] * 4
            if found is not None and found is not seen:
                seen = found
                rest = self._shown(found, facts)
            said = progress_html(now, self._atelier.queue, words)
            if now.stopped and not now.ended:
                said = note_html(words("finder.stopping"))
            elif now.state == STOPPED and found is None:
                said = note_html(words("finder.stopped", start=words("finder.start")))
            yield [said, *rest]

    def _shown(self, found: Fitted, facts: Facts) -> list[Any]:
        blocks = [line["block"] for line in facts["blocks"]]
        weights: BlockWeights = shown_weights(found.vector, blocks, facts["family"])
        held = {"lora": found.lora, "vector": weights.format(), "window": asdict(found.result.window)}
        return [found_html(found, weights, self._atelier.folders, self._words), compat.update(visible=True), "", held]


def _value(one: Option, value: Any) -> Any:
    """Return what a widget holds as the option's value; an empty number is the usual one."""
    if one.kind is tuple:
        return tuple(filter(None, map(str.strip, (value or "").splitlines())))
    if one.kind is str:
        return (value or "").strip()
    return one.default if value is None else value

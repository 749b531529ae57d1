"""*Make it for me*: a folder and a word become a finished LoRA, and a card shows how far it is."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from lib_lora.blocks.typed import as_words
from lib_lora.errors import AtelierError
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.i18n.words import Words, duration
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import RUNNING, WAITING
from lib_lora.services.make.course import line
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.make.proof import OURS, WITHOUT
from lib_lora.services.make.queued import MakeView, allowed
from lib_lora.services.make.record import LABEL, PICTURES, PLAN, PROOF, REPORT, USUAL
from lib_lora.services.make.report import verdict
from lib_lora.train.recipes import KINDS
from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import bar_html, error_html, note_html, progress_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.remember import remember
from lib_lora.ui.train.inline_actions import act_button
from lib_lora.web.routes import file_url, report_url

MAKES = "train.makes"
LISTED = 4
UPLOADS = ["image", ".txt", ".caption"]
KNOWN = {one.name: one for one in options_of(MakeOptions)}
FIRST = ("images", "trigger")
MORE = ("name", "class_word", "budget", "steps", "keep", "compare", "crops", "tagger", "seed")


def build(atelier: Atelier, words: Words, take: Callable[..., tuple]) -> None:
    """Draw the panel inside an open Blocks and wire it; its cards' buttons are orders of the train panel.

    ``take`` copies dropped files into a folder of pictures, see `Intake.take`.
    """
    fields: dict[str, Any] = {}
    with gr.Accordion(words("make.open"), open=True, elem_id="atelier_make"):
        gr.HTML(f'<p class="atelier-soft">{escape(words("make.open_text"))}</p>')
        with gr.Row():
            for name, scale in (("images", 3), ("trigger", 2)):
                fields[name] = widget(KNOWN[name], words, value="", scale=scale, elem_id=f"atelier_make_{name}")
        dropped = compat.file_input(
            label=words("train.drop"),
            file_count="multiple",
            file_types=UPLOADS,
            height=140,
            elem_id="atelier_make_files",
        )
        with gr.Row():
            fields["kind"] = gr.Radio(
                [(words(f"train.kind_{kind}"), kind) for kind in KINDS],
                value=KNOWN["kind"].default,
                label=words.said(KNOWN["kind"].label),
                scale=3,
                elem_id="atelier_make_kind",
            )
            start = gr.Button(words("make.start"), variant="primary", min_width=180, elem_id="atelier_make_start")
        with gr.Accordion(words("make.more"), open=False, elem_id="atelier_make_more"):
            for names in (MORE[:4], MORE[4:]):
                with gr.Row():
                    for name in names:
                        fields[name] = widget(KNOWN[name], words, elem_id=f"atelier_make_{name}")
            plan = gr.Button(words("make.start_plan"), size="sm", elem_id="atelier_make_plan")
        message = gr.HTML("", elem_id="atelier_make_message")
        gr.HTML(atelier.live.placeholder(MAKES, words), elem_id="atelier_makes")
    for name in FIRST:
        remember(atelier, fields[name], f"make.{name}", good=lambda value: isinstance(value, str))
    handlers = Handlers(atelier, words)
    start.click(handlers.start, list(fields.values()), message, **compat.event_kw())
    plan.click(handlers.plan, list(fields.values()), message, **compat.event_kw())
    handlers.names = tuple(fields)
    dropped.upload(
        take, [dropped, fields["images"], fields["trigger"]], [message, fields["images"], dropped], **compat.event_kw()
    )


class Handlers:
    """What the panel's buttons do."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words
        self.names: tuple[str, ...] = ()

    def start(self, *values: Any) -> str:
        """Begin an order; return a message."""
        return self._start(values, until_plan=False)

    def plan(self, *values: Any) -> str:
        """Begin an order that waits when its plan is made; return a message."""
        return self._start(values, until_plan=True)

    def _start(self, values: tuple[Any, ...], *, until_plan: bool) -> str:
        given = {
            name: KNOWN[name].default if value is None else value
            for name, value in zip(self.names, values, strict=True)
        }
        try:
            options = allowed(self._atelier, MakeOptions(**{n: KNOWN[n].parse(value) for n, value in given.items()}))
            made = self._atelier.makes.start(options, language=self._words.language, until_plan=until_plan)
        except AtelierError as error:
            return error_html(error, self._words)
        return note_html(self._words("make.started", name=made.make.name), kind="good")


class MakePiece:
    """Draws the newest orders: how far they are, what they decided, and what came of them."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier
        atelier.live.add(MAKES, self.html)

    def acts(self) -> dict[str, Callable[[str], Any]]:
        """Return what the buttons order, by their verbs."""
        makes = self._atelier.makes
        return {
            "make-stop": makes.stop,
            "make-go": makes.go_on,
            "make-crops": lambda name: makes.go_on(name, crops=True),
        }

    def tag_of(self, name: str) -> str:
        """Return the text for a prompt that uses a finished LoRA."""
        view = self._atelier.makes.find(name)
        return f"{as_words(view.make.options.trigger)}, <lora:{view.make.results[LABEL]['lora']}:1>"

    def html(self, words: Words) -> str:
        """Return the newest orders, and which records cannot be read."""
        makes = self._atelier.makes
        cards = [self._card(view, words) for view in makes.listed(LISTED)]
        shown = "".join([*cards, *(error_html(error, words) for error in makes.damaged())])
        return shown or f'<p class="atelier-soft">{escape(words("make.empty"))}</p>'

    def _card(self, view: MakeView, words: Words) -> str:
        made = view.make
        head = (
            f'<div class="atelier-run-head"><b>{escape(made.name)}</b>'
            f'<span class="atelier-soft">{escape(self._state(view, words))}</span>'
            f'<span class="atelier-acts">{self._buttons(view, words)}</span></div>'
        )
        body = self._working(view, words) if view.active else ""
        if view.error is not None and not view.active:
            body = error_html(view.error, words)
        elif view.planned:
            plan = made.results[PLAN]
            time = duration(view.course.left or 0.0, words)
            body = note_html(words("make.state_planned", steps=plan["steps"], time=time))
        elif view.done:
            body = note_html(verdict(made, words), kind="good") + self._proof(view, words)
        said = "".join(
            f"<li><b>{escape(words(f'make.step_{step}'))}</b> "
            f"{escape(' · '.join(sentence_in_words(text, words.language) for text in made.notes(step)) or '✓')}</li>"
            for step in made.steps
            if step in made.results
        )
        told = f"<details><summary>{escape(words('make.decided'))}</summary><ul>{said}</ul></details>" if said else ""
        return f'<div class="atelier-run">{head}{body}{told}</div>'

    def _state(self, view: MakeView, words: Words) -> str:
        if view.done:
            return words("make.state_done")
        step = words(f"make.step_{view.make.next_step}")
        if not view.active:
            return words("make.state_stopped", step=step)
        return words(
            "make.state", n=view.make.steps.index(view.make.next_step) + 1, all=len(view.make.steps), step=step
        )

    def _working(self, view: MakeView, words: Words) -> str:
        """Return one bar over all steps: what the present one does, and how long all of it still takes."""
        job, run = view.job, view.run
        if run is not None:
            inside = f"{run.step} / {run.total}" if run.total else ""
        elif job is not None and job.state == RUNNING:
            count = f"{job.done} / {job.total}" if job.total else ""
            inside = " · ".join(filter(None, (sentence_in_words(job.text, words.language), count)))
        elif job is not None and job.state == WAITING:
            return progress_html(job, self._atelier.queue, words)
        else:  # between two steps
            inside = ""
        return bar_html(view.course.share, line(view.course, words, inside))

    def _buttons(self, view: MakeView, words: Words) -> str:
        name, made = view.make.name, []

        def add(verb: str, key: str, kind: str = "") -> None:
            title = words(f"make.{key}_title", name=name)
            made.append(
                act_button(f"{verb} {name}", words(f"make.{key}"), title=title, kind=kind, id_=f"atelier_{verb}_{name}")
            )

        if view.active:
            add("make-stop", "stop")
        elif not view.done:
            add("make-go", "go", "primary")
            if view.planned and view.make.results[PICTURES].get("crops") and not view.make.options.crops:
                add("make-crops", "crops")
        if LABEL in view.make.results:
            add("make-use", "use", "primary")
        if REPORT in view.make.results:
            url = report_url(self._atelier.folders, view.make.folder / "report.html", words.language)
            made.append(f'<a class="atelier-act" href="{url}" target="_blank">{escape(words("make.show_report"))}</a>')
        return "".join(made)

    def _proof(self, view: MakeView, words: Words) -> str:
        """Return the first row of the proof as small pictures."""
        row = view.make.results[PROOF]["pictures"][0]
        made = []
        for way in (WITHOUT, USUAL, OURS):
            url = file_url(self._atelier.folders, view.make.folder / "proof" / row[way]) if way in row else ""
            if url:
                name = escape(words(f"make.way_{way}"))
                image = f'<img src="{url}" alt="{name}" loading="lazy">'
                made.append(f'<figure>{image}<figcaption class="atelier-soft">{name}</figcaption></figure>')
        return f'<div class="atelier-proof">{"".join(made)}</div>'

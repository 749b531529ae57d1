"""The panel's layout, and which event calls which handler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import rules_or_usual
from lib_lora.services.run_plan import LOOKS
from lib_lora.train.options import usual_values
from lib_lora.train.rate_range import STEPS
from lib_lora.train.recipes import KINDS, facts_of
from lib_lora.ui import captions, compat
from lib_lora.ui.compat import HIDDEN, gr
from lib_lora.ui.option_widget import widget
from lib_lora.ui.remember import remember
from lib_lora.ui.train import make
from lib_lora.ui.train.form import Form, plain
from lib_lora.ui.train.inline_actions import BOX, read_act
from lib_lora.ui.train.intake import Intake
from lib_lora.ui.train.options import KNOWN, NAMES, ROOM, OptionForm
from lib_lora.ui.train.orders import Orders
from lib_lora.ui.train.pieces import LIST, RUN, SAMPLES, Pieces
from lib_lora.ui.train.probe import PROBE
from lib_lora.ui.train.sweep import SweepWidgets, sweep_widgets

FIRST_NAME = "lora_v1"


@dataclass(frozen=True)
class TrainPanel:
    """What other panels may be wired to.

    Attributes:
        used: hidden; changes when somebody presses *use it in Generate*. `lib_lora.ui.train.tag_of` of its value is
            the text for the prompt: trigger word and tag.
        folder, trigger, kind: the first fields of the form; who fills them in presses *Look at the pictures* next.
    """

    used: Any
    folder: Any
    trigger: Any
    kind: Any


@dataclass(frozen=True)
class _Widgets:
    folder: Any
    look: Any
    files: Any
    dropped: Any
    intake_message: Any
    summary: Any
    trigger: Any
    kind: Any
    captions: captions.CaptionWidgets
    plan: Any
    steps: Any
    changes: Any
    probe: Any
    probe_message: Any
    sweep: SweepWidgets
    form: OptionForm
    name: Any
    train: Any
    message: Any
    opened: Any
    act: Any
    used: Any
    moved: Any
    looked: Any
    rewritten: Any
    found: Any
    usual: Any
    marked: Any
    opened_caption: Any
    offered: Any

    @property
    def sizes(self) -> list[Any]:
        """What previews are drawn by: kind, training size, and what changes how a picture looks."""
        options = self.form.components
        return [self.kind, options["resolution"], *(options[name] for name in LOOKS)]

    @property
    def open_fields(self) -> list[Any]:
        return [self.found, self.trigger, self.kind, self.steps, self.name]


def build(atelier: Atelier, words: Words) -> TrainPanel:
    """Draw the panel inside an open Blocks and wire it."""
    pieces, intake = Pieces(atelier), Intake(atelier, words)
    make.build(atelier, words, intake.take)
    widgets = _layout(atelier, words)
    form = Form(atelier, words, widgets.form)
    tools = captions.CaptionTools(atelier, words)
    looked = _Looked(intake, tools, widgets)
    looked.wire()
    _wire_captions(atelier, words, tools, looked)
    _wire_intake(intake, looked, widgets)
    _wire_form(form, intake, looked, widgets)
    _wire_orders(Orders(atelier, words, form, pieces), intake, looked, widgets)
    for component, key in ((widgets.folder, "folder"), (widgets.trigger, "trigger")):
        remember(atelier, component, f"train.{key}", good=lambda value: isinstance(value, str))
    remember(atelier, widgets.kind, "train.kind", good=lambda value: value in KINDS)
    return TrainPanel(widgets.used, widgets.folder, widgets.trigger, widgets.kind)


def _heading(number: int, key: str, words: Words) -> None:
    gr.HTML(f'<h3 class="atelier-step"><span>{number}</span> {words(f"train.{key}")}</h3>')


def _layout(atelier: Atelier, words: Words) -> _Widgets:
    made: dict[str, Any] = {}
    rules = rules_or_usual(atelier.folders.data)
    usual = usual_values(KNOWN["kind"].default, model=facts_of(atelier.host.model))
    _heading(1, "head_pictures", words)
    made |= _pictures(words)
    with gr.Accordion(words("train.look_at_them"), open=False, elem_id="atelier_train_captions"):
        made["captions"] = captions.build(words, rules)
    _heading(2, "head_plan", words)
    with gr.Row():
        made["plan"] = gr.HTML("", elem_id="atelier_train_plan")
        with gr.Column(scale=0, min_width=220):
            made["steps"] = widget(KNOWN["steps"], words, value=usual["target_steps"], elem_id="atelier_train_steps")
            made["probe"] = gr.Button(words("train.probe_start", n=STEPS), size="sm", elem_id="atelier_train_probe")
    made["probe_message"] = gr.HTML("", elem_id="atelier_train_probe_message")
    gr.HTML(atelier.live.placeholder(PROBE, words), elem_id="atelier_train_probed")
    made["changes"] = gr.HTML("", elem_id="atelier_train_changes")
    with gr.Accordion(words("train.all_options"), open=False, elem_id=ROOM):
        made["form"] = OptionForm(words, usual)
    with gr.Accordion(words("train.sweep"), open=False, elem_id="atelier_train_sweep"):
        made["sweep"] = sweep_widgets(atelier, words)
    _heading(3, "head_run", words)
    made |= _run(atelier, words)
    # What the widgets show at first is what is usual so far: else the first look would take it for somebody's choice.
    shown = {name: usual[name] for name in NAMES} | {"steps": usual["target_steps"], "name": FIRST_NAME}
    made |= {"found": gr.State(None), "usual": gr.State(plain(shown)), "marked": gr.State([])}
    made |= {"opened_caption": gr.State(None), "offered": gr.State(captions.no_name_says(rules))}
    return _Widgets(**made)


def _pictures(words: Words) -> dict[str, Any]:
    made: dict[str, Any] = {}
    with gr.Row():
        with gr.Column(scale=3):
            made["folder"] = widget(
                KNOWN["images"], words, info=words("train.images_info"), value="", elem_id="atelier_train_folder"
            )
            made["look"] = gr.Button(words("train.look"), elem_id="atelier_train_look")
        with gr.Column(scale=2):
            made["files"] = compat.file_input(
                label=words("train.drop"),
                file_count="multiple",
                file_types=make.UPLOADS,
                height=150,
                elem_id="atelier_train_files",
            )
    made["dropped"] = gr.HTML("", elem_id="atelier_train_dropped")
    made["intake_message"] = gr.HTML("", elem_id="atelier_train_intake_message")
    made["summary"] = gr.HTML("", elem_id="atelier_train_summary")
    with gr.Row():
        made["trigger"] = widget(KNOWN["trigger"], words, scale=2, elem_id="atelier_train_trigger")
        made["kind"] = gr.Radio(
            [(words(f"train.kind_{kind}"), kind) for kind in KINDS],
            value=KNOWN["kind"].default,
            label=words.said(KNOWN["kind"].label),
            info=words.said(KNOWN["kind"].help),
            scale=3,
            elem_id="atelier_train_kind",
        )
    return made


def _run(atelier: Atelier, words: Words) -> dict[str, Any]:
    made: dict[str, Any] = {}
    with gr.Row():
        made["name"] = widget(KNOWN["name"], words, value=FIRST_NAME, scale=3, elem_id="atelier_train_name")
        made["train"] = gr.Button(
            words("train.train"), variant="primary", scale=1, min_width=160, elem_id="atelier_train_train"
        )
    made["message"] = gr.HTML("", elem_id="atelier_train_message")
    gr.HTML(atelier.live.placeholder(RUN, words), elem_id="atelier_train_run")
    gr.HTML(atelier.live.placeholder(SAMPLES, words), elem_id="atelier_train_samples")
    with gr.Accordion(words("train.past"), open=False, elem_id="atelier_train_past"):
        gr.HTML(atelier.live.placeholder(LIST, words), elem_id="atelier_train_list")
        made["opened"] = gr.HTML("", elem_id="atelier_train_opened")
    made["act"] = gr.Textbox(value="", visible=HIDDEN, label="act", elem_id=BOX)
    made["used"] = gr.Textbox(value="", visible=HIDDEN, label="used", elem_id="atelier_train_used")
    for name in ("moved", "looked", "rewritten"):  # hidden: `compat.nudge`
        made[name] = gr.Textbox(value="", visible=HIDDEN, label=name, elem_id=f"atelier_train_{name}")
    return made


def _follow(events: Sequence[Any], form: Form, widgets: _Widgets) -> None:
    """Let the plan, the computed values and the marks follow any of several events that have no other handler."""
    compat.on_any(
        events,
        form.refresh,
        [*widgets.open_fields, widgets.usual, widgets.marked, *widgets.form.inputs],
        [
            widgets.plan,
            widgets.changes,
            widgets.steps,
            widgets.name,
            widgets.usual,
            widgets.marked,
            *widgets.form.inputs,
        ],
        **compat.event_kw(),
    )


@dataclass(frozen=True)
class _Looked:
    """Lets everything follow an event after which another folder, or other captions, may be there."""

    intake: Intake
    tools: captions.CaptionTools
    widgets: _Widgets

    def __call__(self, event: Any) -> None:
        """Let everything follow ``event``."""
        compat.nudge(event.then, self.widgets.looked)

    def again(self, event: Any) -> None:
        """Look again after ``event`` first: captions have changed."""
        compat.nudge(event.then, self.widgets.rewritten)

    def wire(self) -> None:
        """Let the filter in its field, the lines about it, the open caption, the rules and the plan follow."""
        widgets, editor = self.widgets, self.widgets.captions.editor
        seen = self.filtered(widgets.looked.change)
        box = [widgets.opened_caption, editor.caption]
        open_now = seen.then(self.tools.reopened, [widgets.found, *box], box, **compat.event_kw())
        choices = [widgets.captions.rule.also, widgets.offered]
        ticked = open_now.then(self.tools.offered, choices, choices, **compat.event_kw())
        compat.nudge(ticked.then, widgets.moved)
        shown = [widgets.found, widgets.summary, editor.gallery, editor.tags]
        again = widgets.rewritten.change
        self(again(self.intake.again, [widgets.found, *widgets.sizes], shown, **compat.event_kw()))

    def filtered(self, event: Any) -> Any:
        """Let gallery and tags show what the filter takes, and the line above them say it."""
        editor, found = self.widgets.captions.editor, self.widgets.found
        shown = [editor.only_message, found, editor.gallery, editor.tags]
        taken = event(self.intake.filtered, [found, editor.only, *self.widgets.sizes], shown, **compat.event_kw())
        return taken.then(self.tools.state, [found], [editor.scope, editor.undo], **compat.event_kw())


def _wire_captions(atelier: Atelier, words: Words, tools: captions.CaptionTools, looked: _Looked) -> None:
    widgets = looked.widgets
    size = widgets.form.components["resolution"]
    around = captions.Around(widgets.found, widgets.trigger, widgets.kind, size, widgets.opened_caption, looked.again)
    captions.wire(atelier, words, tools, widgets.captions, around)
    looked.filtered(widgets.captions.editor.only.submit)


def _wire_intake(intake: Intake, looked: _Looked, widgets: _Widgets) -> None:
    shown = [widgets.found, widgets.summary, widgets.captions.editor.gallery, widgets.captions.editor.tags]
    looking = ([widgets.folder, *widgets.sizes], [widgets.intake_message, *shown])

    def look(folder: str, kind: str, side: Any, a: Any, b: Any, c: Any, request: gr.Request) -> Iterator[tuple]:
        yield from intake.look(folder, kind, side, compat.visitor_of(request), (a, b, c))  # a, b, c: `LOOKS`

    for event in (widgets.look.click, widgets.folder.submit):
        looked(event(look, *looking, **compat.event_kw(side_by_side=True)))
        event(lambda: "", None, widgets.dropped, queue=False, **compat.event_kw())  # that was about other files
    taken = widgets.files.upload(
        intake.take,
        [widgets.files, widgets.folder, widgets.trigger],
        [widgets.dropped, widgets.folder, widgets.files],
        **compat.event_kw(),
    )
    looked(taken.then(look, *looking, **compat.event_kw(side_by_side=True)))
    for name in LOOKS:
        change = widgets.form.components[name].change
        change(intake.drawn, [widgets.found, *widgets.sizes], widgets.captions.editor.gallery, **compat.event_kw())


def _wire_form(form: Form, intake: Intake, looked: _Looked, widgets: _Widgets) -> None:
    options = widgets.form.components
    # The change of these has another handler, too.
    shared = [widgets.trigger, widgets.kind, *(options[name] for name in LOOKS)]
    alone = [one for name, one in options.items() if name not in LOOKS]
    _follow([one.change for one in (widgets.steps, widgets.name, widgets.moved, *alone)], form, widgets)
    for one in shared:
        compat.nudge(one.change, widgets.moved)
    page = compat.page_being_built()
    compat.nudge(page.load, widgets.moved)
    shown = [widgets.intake_message, widgets.found, widgets.summary]
    shown += [widgets.captions.editor.gallery, widgets.captions.editor.tags]

    def resume(request: gr.Request) -> Iterator[tuple]:
        yield from intake.resume(compat.visitor_of(request))

    looked(page.load(resume, None, shown, **compat.event_kw(side_by_side=True)))
    whole = [*widgets.open_fields, widgets.usual, *widgets.form.inputs]
    sweep = widgets.sweep
    started = compat.with_many(widgets.train.click, form.train, whole, widgets.message, **compat.event_kw())
    compat.with_many(widgets.probe.click, form.probe, whole, widgets.probe_message, **compat.event_kw())
    rows = [sweep.table, sweep.prompt, *whole]
    swept = compat.with_many(sweep.start.click, form.sweep, rows, sweep.message, **compat.event_kw())
    for queued in (started, swept):
        compat.nudge(queued.then, widgets.moved)


def _wire_orders(orders: Orders, intake: Intake, looked: _Looked, widgets: _Widgets) -> None:
    editor = widgets.captions.editor
    targets = {"folder": widgets.folder, "trigger": widgets.trigger, "kind": widgets.kind}
    targets |= {"steps": widgets.steps, "name": widgets.name, **widgets.form.components}

    def do(order: str, usual: Any) -> list[Any]:
        answer = orders.do(order, usual)
        plain = [answer.message, answer.opened, answer.used, answer.tag]
        updates = [compat.update() if value is None else compat.update(value=value) for value in plain]
        values = answer.values
        return updates + [compat.update(value=values[one]) if one in values else compat.update() for one in targets]

    def look_again(
        order: str, folder: str, kind: str, side: Any, a: Any, b: Any, c: Any, request: gr.Request
    ) -> Iterator[tuple]:
        if read_act(order)[0] == "again":
            yield from intake.look(folder, kind, side, compat.visitor_of(request), (a, b, c))  # a, b, c: `LOOKS`
        elif read_act(order)[0] == "measure":
            yield from intake.measured(kind, side)
        else:
            yield tuple(compat.update() for _ in range(5))

    done = widgets.act.change(
        do,
        [widgets.act, widgets.usual],
        [widgets.message, widgets.opened, widgets.used, editor.tag, *targets.values()],
        **compat.event_kw(),
    )
    seen = done.then(
        look_again,
        [widgets.act, widgets.folder, *widgets.sizes],
        [widgets.intake_message, widgets.found, widgets.summary, editor.gallery, editor.tags],
        **compat.event_kw(side_by_side=True),
    )
    looked(seen)

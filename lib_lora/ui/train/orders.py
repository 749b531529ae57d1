"""What the buttons inside of drawn pieces ask for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Any

from lib_lora.blocks.typed import as_words
from lib_lora.errors import AtelierError
from lib_lora.i18n.words import Words
from lib_lora.services import rate_probe
from lib_lora.services.atelier import Atelier
from lib_lora.services.finish import FinishOptions, finish
from lib_lora.services.jobs.job import DONE, STOPPED
from lib_lora.services.run_plan import MEASURE
from lib_lora.train.available import instead
from lib_lora.train.recipes import facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.train.form import Form
from lib_lora.ui.train.inline_actions import act_button, read_act
from lib_lora.ui.train.options import NAMES, to_widget
from lib_lora.ui.train.pieces import Pieces

SOON = 1.0
"""Seconds that a click waits for a file; the page carries out one click at a time."""


@dataclass
class Answer:
    """What an order changes on the page; None and what is missing stay as they are."""

    message: str | None = None
    opened: str | None = None
    used: str | None = None
    tag: str | None = None
    values: dict[str, Any] = field(default_factory=dict)


class Orders:
    """Carries out what `act_button` sends."""

    def __init__(self, atelier: Atelier, words: Words, form: Form, pieces: Pieces) -> None:
        self._atelier, self._words, self._form, self._pieces = atelier, words, form, pieces
        self._count = itertools.count(1)
        self._known: dict[str, Callable[[str, Mapping[str, Any]], Answer]] = {
            "pause": lambda name, _: self._told(self._atelier.trainings.pause, name),
            "stop": lambda name, _: self._told(self._atelier.trainings.stop, name),
            "remove": lambda name, _: self._told(self._atelier.trainings.remove, name, "train.removed"),
            "resume": self._resume,
            "open": self._open,
            "close": lambda *_: Answer(opened=""),
            "use": self._use,
            "finish": self._finish,
            "again": self._again,
            "reset": lambda name, usual: Answer(values=self._form.returned(name, usual)),
            "instead": lambda *_: Answer(values=self._instead()),
            "tag": lambda tag, _: Answer(tag=tag),
            "masks": lambda folder, _: Answer(values={"masks": folder}),
            "measure": lambda *_: Answer(),  # followed by `Intake.measured`
            "halt": self._halt,
            "rate": lambda rate, _: Answer(values={"learning_rate": to_widget("learning_rate", float(rate))}),
            "unprobe": lambda number, _: self._told(pieces.probe.close, number),
        }
        self._known["make-use"] = self._use_made
        for verb, act in (pieces.sweep.acts(words.language) | pieces.make.acts()).items():
            self._known[verb] = partial(self._acted, act)

    def do(self, order: str, usual: Mapping[str, Any]) -> Answer:
        """Carry out one order; what goes wrong becomes its message."""
        verb, thing = read_act(order)
        if verb not in self._known:
            return Answer()
        try:
            return self._known[verb](thing, usual)
        except AtelierError as error:
            return Answer(message=error_html(error, self._words))

    def _told(self, action: Callable[[str], Any], name: str, key: str = "") -> Answer:
        action(name)
        return Answer(message=note_html(self._words(key, name=name), kind="good") if key else "")

    def _acted(self, action: Callable[[str], Any], name: str, usual: Mapping[str, Any]) -> Answer:
        return self._told(action, name)

    def _resume(self, name: str, usual: Mapping[str, Any]) -> Answer:
        self._atelier.trainings.resume(name, language=self._words.language)
        return Answer(message=note_html(self._words("train.resumed", name=name), kind="good"))

    def _open(self, name: str, usual: Mapping[str, Any]) -> Answer:
        """Show a run of the past in full: loss, samples, its files."""
        view = self._atelier.trainings.find(name)
        label, title = self._words("train.use"), self._words("train.use_title")
        files = "".join(
            f"<li>{escape(path.name)} {act_button(f'use {name}/{path.name}', label, title=title)}</li>"
            for path in sorted(view.folder.glob("*.safetensors"))
        )
        listed = f'<ul class="atelier-files">{files}</ul>' if files else ""
        close = act_button(f"close {name}", self._words("train.close"))
        card, grid = self._pieces.card(view, self._words), self._pieces.sample_grid(view, self._words)
        return Answer(opened=f'<div class="atelier-opened">{card}{grid}{listed}{close}</div>', message="")

    def _use(self, thing: str, usual: Mapping[str, Any]) -> Answer:
        """Put a run's LoRA into the list of LoRAs and hand its tag to Generate."""
        name, _, file = thing.partition("/")
        path = self._atelier.trainings.lora_of(name, file)
        view = self._atelier.trainings.find(name)
        trigger = as_words(RunFolder(view.folder).options().trigger)
        tag = f"{trigger}, <lora:{path.stem}:1>" if trigger else f"<lora:{path.stem}:1>"
        said = note_html(self._words("train.used", tag=tag, file=path), kind="good")
        # The number makes using the same LoRA twice two changes.
        return Answer(message=said, used=f"{tag}\n{next(self._count)}")

    def _use_made(self, name: str, usual: Mapping[str, Any]) -> Answer:
        """Hand the tag of a LoRA that was made to Generate."""
        tag = self._pieces.make.tag_of(name)
        return Answer(message="", used=f"{tag}\n{next(self._count)}")

    def _finish(self, thing: str, usual: Mapping[str, Any]) -> Answer:
        """Make the file to hand on of a finished run."""
        name, _, text = thing.partition("/")
        job, target = finish(self._atelier, name, FinishOptions.from_text(text))
        job.wait(SOON)  # what takes longer is shown on the run's card, and holds no other button up
        if job.error is not None:
            return Answer(message=error_html(job.error, self._words))
        if job.state == STOPPED:
            return Answer(message=note_html(self._words("train.finish_stopped", file=target.name)))
        key = "train.finish_done" if job.state == DONE else "train.finish_later"
        return Answer(message=note_html(self._words(key, file=target.name, name=target.stem), kind="good"))

    def _again(self, name: str, usual: Mapping[str, Any]) -> Answer:
        """Fill the form with a run's options; its name is taken, so that stays what it is."""
        options = RunFolder(self._atelier.trainings.find(name).folder).options()
        values = {one: to_widget(one, getattr(options, one)) for one in (*NAMES, "trigger", "kind")}
        values["folder"] = options.images or options.dataset_config
        if options.steps:
            values["steps"] = options.steps
        return Answer(message=note_html(self._words("train.filled", name=name), kind="good"), values=values)

    def _instead(self) -> dict[str, Any]:
        """Return the widget values that train the recipe with the optimizer that every machine has."""
        return {name: to_widget(name, value) for name, value in instead(facts_of(self._atelier.host.model)).items()}

    def _halt(self, number: str, usual: Mapping[str, Any]) -> Answer:
        """Stop work on pictures, measuring the time, or a probe; one that has ended meanwhile stays as it is."""
        queue = self._atelier.queue
        for job in (*self._atelier.files.jobs(), *queue.jobs(MEASURE), *queue.jobs(rate_probe.KIND)):
            if str(job.number) == number:
                job.stop()
        return Answer()


def tag_of(used: str) -> str:
    """Return the text for a prompt out of the panel's ``used`` box."""
    return (used or "").split("\n")[0]

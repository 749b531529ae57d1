"""Subjects cut out by a model of the user's: tried on one picture, then masks or copies of all in view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from lib_lora.data.files import shown
from lib_lora.data.masks import overlaid
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.cutouts import KIND, MASKS, CutoutOptions, CutoutsMade, cut_out, target_of, try_mask
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import Found
from lib_lora.ui.captions.editor import Opened, clicked, given
from lib_lora.ui.captions.work import followed, inline
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.train.inline_actions import act_button
from lib_lora.ui.train.look import problems_html

OPTIONS = options_of(CutoutOptions)
SIDE = 360
"""Pixels of the picture on which a mask is tried."""


@dataclass(frozen=True)
class CutoutWidgets:
    """The widgets; ``fields`` in the order of `OPTIONS`."""

    fields: list[Any]
    attempt: Any
    make: Any
    message: Any


def cutout_widgets(words: Words) -> CutoutWidgets:
    """Draw the options and the two buttons."""
    fields = []
    for start, end in ((0, 1), (1, 3), (3, 5)):
        with gr.Row():
            for one in OPTIONS[start:end]:
                more = {"value": ""} if one.name == "cutter" else {}
                fields.append(widget(one, words, elem_id=f"atelier_train_cutout_{one.name}", **more))
    with gr.Row():
        attempt = gr.Button(words("captions.tagger_try"), size="sm", elem_id="atelier_train_cutout_try")
        make = gr.Button(words("captions.cut_all"), size="sm", elem_id="atelier_train_cutout_all")
    return CutoutWidgets(fields, attempt, make, gr.HTML("", elem_id="atelier_train_cutout_message"))


class CutoutTools:
    """Handlers of cutting out."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def attempt(self, found: Found | None, only: str, opened: Opened | None, *values: Any) -> Iterator[str]:
        """Yield the picture that was clicked with its background under a veil; nothing is written."""
        try:
            picture = clicked(given(found, only), opened)
            options, cutter = self._order(values)
        except AtelierError as error:
            yield error_html(error, self._words)
            return

        def work(job: Job) -> tuple[Image.Image, Image.Image | None, str]:
            return try_mask(picture, cutter, options)

        def drawn(made: tuple[Image.Image, Image.Image | None, str]) -> str:
            image, mask, form = made
            if mask is None:
                return note_html(self._words("captions.cut_nothing", names=shown(picture.name)), kind="warning")
            said = escape(self._words("captions.cut_tried", picture=shown(picture.name), form=form))
            return f'<p class="atelier-soft">{said}</p><img src="{inline(overlaid(image, mask), SIDE)}" alt="{said}">'

        yield from followed(self._atelier, self._words, KIND, picture.name, work, drawn)

    def make(self, found: Found | None, only: str, *values: Any) -> Iterator[str]:
        """Make a mask or a copy of every picture in view as a job; yield its progress, then what was made."""
        try:
            known = given(found, only)
            options, cutter = self._order(values)
            target = target_of(known.folder, self._atelier.folders.named(options.target), options.makes)
            self._atelier.folders.allowed(target)
        except AtelierError as error:
            yield error_html(error, self._words)
            return

        def work(job: Job) -> CutoutsMade:
            trained = [one.path for one in known.scan.folders]
            return cut_out(
                known.folder, known.chosen, cutter, target, options, job, trained=trained, endings=known.endings
            )

        def said(made: CutoutsMade) -> str:
            return self._said(made, options)

        yield from followed(self._atelier, self._words, KIND, known.folder.name, work, said)

    def _order(self, values: tuple[Any, ...]) -> tuple[CutoutOptions, Path]:
        options = CutoutOptions(**dict(zip((one.name for one in OPTIONS), values, strict=True)))
        place = options.cutter.strip().strip("\"'")
        if not place:
            raise InputError("No model was given", cure="Give the path of its .onnx file.")
        return options, self._atelier.folders.allowed(place, where=place)

    def _said(self, made: CutoutsMade, options: CutoutOptions) -> str:
        words, folder = self._words, shown(made.folder)
        counts = words("captions.cut_made", n=len(made.written), kept=made.kept, folder=folder, form=made.form)
        note = note_html(counts, kind="good" if made.written else "note")
        if options.makes == MASKS and (made.written or made.kept):
            title = words("captions.cut_use_title", folder=folder)
            note += act_button(f"masks {made.folder}", words("captions.cut_use"), title=title)
        if made.nothing:
            names = ", ".join(shown(path.name) for path in made.nothing[:5])
            note += note_html(words("captions.cut_nothing", names=names), kind="warning")
        return note + problems_html(made.problems, (), words)

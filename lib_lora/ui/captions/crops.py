"""Crops around faces: shown first, each with its name; those that stay ticked are written into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lib_lora.data.files import shown
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.i18n.words import Words
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.crops import KIND, CropOptions, CropsWritten, Proposed, propose, write_crops
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import SHOWN, Found
from lib_lora.ui import compat
from lib_lora.ui.captions.editor import given
from lib_lora.ui.captions.work import followed
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.train.look import problems_html

OPTIONS = options_of(CropOptions)
SIDE = 256
"""Pixels of a crop in the gallery."""


@dataclass(frozen=True)
class CropWidgets:
    """The widgets; ``fields`` in the order of `OPTIONS`."""

    fields: list[Any]
    propose: Any
    message: Any
    gallery: Any
    ticked: Any
    write: Any


def crop_widgets(words: Words) -> CropWidgets:
    """Draw the options, the crops, and what is written of them."""
    fields = []
    for start, end in ((0, 2), (2, 4)):
        with gr.Row():
            for one in OPTIONS[start:end]:
                fields.append(widget(one, words, elem_id=f"atelier_train_crop_{one.name}"))
    look = gr.Button(words("captions.crops_look"), size="sm", elem_id="atelier_train_crop_look")
    message = gr.HTML("", elem_id="atelier_train_crop_message")
    gallery = gr.Gallery(
        label=words("captions.crops"),
        columns=4,
        height=260,
        object_fit="contain",
        allow_preview=False,
        elem_id="atelier_train_crop_gallery",
    )
    ticked = gr.CheckboxGroup([], label=words("captions.crops_ticked"), elem_id="atelier_train_crop_ticked")
    write = gr.Button(words("captions.crops_write"), size="sm", elem_id="atelier_train_crop_write")
    return CropWidgets(fields, look, message, gallery, ticked, write)


class CropTools:
    """Handlers of the crops."""

    def __init__(self, atelier: Atelier, words: Words) -> None:
        self._atelier, self._words = atelier, words

    def propose(self, found: Found | None, only: str, *values: Any) -> Iterator[tuple]:
        """Look for faces in the pictures in view; yield (message, crops, gallery, ticked)."""
        same = compat.update()
        try:
            known, options = given(found, only), self._options(values)
        except AtelierError as error:
            yield error_html(error, self._words), same, same, same
            return
        seen: list[tuple[Proposed, list[tuple]]] = []

        def said(made: tuple[Proposed, list[tuple]]) -> str:
            seen.append(made)
            return self._said(made[0])

        def work(job: Job) -> tuple[Proposed, list[tuple]]:
            made = propose(known.chosen, options, job, endings=known.endings)
            return made, _drawn(made)

        for html in followed(self._atelier, self._words, KIND, known.folder.name, work, said):
            if not seen:
                yield html, same, same, same
                continue
            made, rows = seen[0]
            names = [crop.name for crop in made.crops]
            yield html, made, rows, compat.update(choices=names, value=names)

    def write(self, proposed: Proposed | None, ticked: list[str] | None, *values: Any) -> Iterator[str]:
        """Write the crops that are ticked as a job; yield its progress, then what was written."""
        try:
            options = self._options(values)
            if proposed is None or not proposed.crops:
                raise InputError("No crop is proposed", cure="Press “Look for faces” first.")
            target = self._atelier.folders.named(options.target)
            if target is None:
                raise InputError("The crops have no folder", cure="Name one under “Into folder”, e.g. krnk_face.")
        except AtelierError as error:
            yield error_html(error, self._words)
            return
        crops, only = proposed.crops, set(ticked or ())

        def work(job: Job) -> CropsWritten:
            return write_crops(crops, target, options, job, only=only, endings=proposed.endings)

        def said(made: CropsWritten) -> str:
            text = self._words("captions.crops_made", n=len(made.written), kept=made.kept, folder=shown(made.folder))
            note = note_html(text, kind="good" if made.written else "note")
            return note + problems_html(made.problems, (), self._words)

        yield from followed(self._atelier, self._words, KIND, target.name, work, said)

    def _options(self, values: tuple[Any, ...]) -> CropOptions:
        return CropOptions(**dict(zip((one.name for one in OPTIONS), values, strict=True)))

    def _said(self, made: Proposed) -> str:
        words, left = self._words, []
        for key, paths in (("faceless", made.faceless), ("small", made.small), ("whole", made.whole)):
            if paths:
                names = ", ".join(shown(path.name) for path in paths[:5]) + (", …" if len(paths) > 5 else "")
                left.append(words(f"captions.crops_{key}", n=len(paths), names=names))
        if len(made.crops) > SHOWN:
            left.append(words("captions.first", n=SHOWN))
        note = note_html(words("captions.crops_found", n=len(made.crops)), kind="good" if made.crops else "note")
        return note + "".join(note_html(text) for text in left) + problems_html(made.problems, (), words)


def _drawn(made: Proposed) -> list[tuple]:
    rows = []
    for crop in made.crops[:SHOWN]:
        try:
            picture = crop.cut()
        except FileError:
            continue  # gone since it was looked at: writing it says so
        picture.thumbnail((SIDE, SIDE))
        size = f"{crop.box[2] - crop.box[0]}×{crop.box[3] - crop.box[1]}"
        rows.append((picture, f"{shown(crop.name)} · {size}"))
    return rows

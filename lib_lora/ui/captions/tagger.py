"""Tags by a tagger of the user's: tried on one picture first, then written into the captions in view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from lib_lora.data.files import shown
from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Changed
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import Found
from lib_lora.services.tagging import KIND, TaggerOptions, suggest, tag_pictures
from lib_lora.ui.captions.editor import CaptionTools, Opened, clicked, given
from lib_lora.ui.captions.work import followed
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html
from lib_lora.ui.option_widget import widget
from lib_lora.ui.train.look import problems_html

OPTIONS = options_of(TaggerOptions, but=("preview",))


@dataclass(frozen=True)
class TaggerWidgets:
    """The widgets; ``fields`` in the order of `OPTIONS`."""

    fields: list[Any]
    attempt: Any
    tag: Any
    message: Any


def tagger_widgets(words: Words) -> TaggerWidgets:
    """Draw the options and the two buttons."""
    fields = []
    for start, end in ((0, 1), (1, 3), (3, 6)):
        with gr.Row():
            for one in OPTIONS[start:end]:
                more = {"value": ""} if one.name == "tagger" else {}
                fields.append(widget(one, words, elem_id=f"atelier_train_tagger_{one.name}", **more))
    with gr.Row():
        attempt = gr.Button(words("captions.tagger_try"), size="sm", elem_id="atelier_train_tagger_try")
        tag = gr.Button(words("captions.tagger_all"), size="sm", elem_id="atelier_train_tagger_all")
    return TaggerWidgets(fields, attempt, tag, gr.HTML("", elem_id="atelier_train_tagger_message"))


class TaggerTools:
    """Handlers of the tagger."""

    def __init__(self, atelier: Atelier, tools: CaptionTools, words: Words) -> None:
        self._atelier, self._tools, self._words = atelier, tools, words

    def attempt(self, found: Found | None, only: str, opened: Opened | None, *values: Any) -> Iterator[str]:
        """Yield the tags of the picture that was clicked, else of the first in view, each with how sure it is."""
        try:
            picture = clicked(given(found, only), opened)
            options, place = self._order(values)
        except AtelierError as error:
            yield error_html(error, self._words)
            return

        def work(job: Job) -> list[tuple[str, float]]:
            return suggest(picture, place, options)

        shown_as = partial(self._suggested, picture)
        yield from followed(self._atelier, self._words, KIND, picture.name, work, shown_as)

    def tag(self, found: Found | None, only: str, *values: Any) -> Iterator[str]:
        """Tag the pictures in view as a job; yield its progress, then what changed."""
        try:
            known = given(found, only)
            options, place = self._order(values)
        except AtelierError as error:
            yield error_html(error, self._words)
            return
        captions, pictures, words = self._tools.captions(known), known.chosen, self._words

        def work(job: Job) -> Any:
            return tag_pictures(captions, pictures, place, options, job)

        def said(made: Changed) -> str:
            note = note_html(words("train.captions_changed", n=made.count), kind="good" if made.count else "note")
            if not made.count and options.existing == "missing":
                note = note_html(words("captions.none_missing"))
            return note + problems_html(made.problems, (), words)

        yield from followed(self._atelier, words, KIND, known.folder.name, work, said)

    def _order(self, values: tuple[Any, ...]) -> tuple[TaggerOptions, Path]:
        options = TaggerOptions(**dict(zip((one.name for one in OPTIONS), values, strict=True)))
        given_place = options.tagger.strip().strip("\"'")
        if not given_place:
            raise InputError("No tagger was given", cure="Give the folder of the tagger's files.")
        return options, self._atelier.folders.allowed(given_place, where=given_place)

    def _suggested(self, picture: Path, tags: list[tuple[str, float]]) -> str:
        if not tags:
            return note_html(self._words("captions.tagger_nothing", picture=shown(picture.name)))
        rows = ", ".join(f'{escape(tag)} <span class="atelier-soft">{share:.2f}</span>' for tag, share in tags)
        return f'<p class="atelier-suggested"><b>{escape(shown(picture.name))}</b> {rows}</p>'

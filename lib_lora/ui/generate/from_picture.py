"""Dropping a picture brings back everything it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.data.files import unreadable
from lib_lora.errors import AtelierError
from lib_lora.host.infotext import PictureSettings, prompt_as_rendered, read_infotext, read_settings
from lib_lora.i18n.words import Words
from lib_lora.picture_file import open_picture
from lib_lora.services.atelier import Atelier
from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.messages import error_html, note_html


def build(atelier: Atelier, words: Words, widgets: list[Any]) -> None:
    """Build the place to drop a picture; ``widgets`` are prompt, negative and the settings in `values_of`'s order."""
    with gr.Accordion(words("generate.from_picture"), open=False, elem_id="atelier_generate_from_picture"), gr.Row():
        dropped = compat.picture_input(
            label=words("generate.drop"), height=180, elem_id="atelier_generate_drop", scale=1, min_width=200
        )
        message = gr.HTML(f'<p class="atelier-hint">{words("generate.drop_hint")}</p>')

    def take(file: Any) -> list[Any]:
        nothing = [compat.update()] * len(widgets)
        paths = compat.file_paths(file)
        if not paths:
            return [*nothing, ""]
        try:
            settings = read_settings(text_of(paths[0]))
            return [*values_of(settings, atelier), _taken(settings, atelier, words)]
        except AtelierError as error:
            return [*nothing, error_html(error, words)]

    dropped.upload(take, dropped, [*widgets, message], queue=False, **compat.event_kw())


def values_of(settings: PictureSettings, atelier: Atelier) -> list[Any]:
    """Return the values of prompt, negative, seed, batch, steps, sampler, CFG, width, height and clip skip."""
    host = atelier.host
    prompt = prompt_as_rendered(settings, presets=host.presets, family=host.model.family)
    sampler = known_sampler(settings.sampler, host.samplers)
    rest = (settings.steps, sampler, settings.cfg_scale, settings.width, settings.height, settings.clip_skip or 1)
    values = [settings.seed, 1, *rest]
    return [prompt, settings.negative, *(compat.update() if value is None else value for value in values)]


def known_sampler(name: str | None, samplers: tuple[str, ...]) -> str | None:
    """Return the host's spelling of a sampler, None where it has none of that name."""
    return next((one for one in samplers if name and one.casefold() == name.casefold()), None)


def text_of(path: Path) -> str:
    """Return what a picture file carries, or an empty text; its pixels are not decoded.

    Raises:
        FileError: it is no picture, or none that is safe to open.
    """
    try:
        with path.open("rb") as file, open_picture(file, where=path.name) as picture:
            return read_infotext(picture)
    except OSError as error:
        raise unreadable(path, error) from error


def _taken(settings: PictureSettings, atelier: Atelier, words: Words) -> str:
    """Return what was taken over, and what could not be."""
    said = note_html(words("generate.taken"), kind="good")
    if settings.model and settings.model != atelier.host.model.name:
        said += note_html(words("generate.other_model", name=settings.model), kind="warning")
    if settings.sampler and known_sampler(settings.sampler, atelier.host.samplers) is None:
        said += note_html(words("generate.other_sampler", name=settings.sampler), kind="warning")
    return said

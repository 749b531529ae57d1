"""Found block weights in pictures: the same seeds without the LoRA, with all of it, and with the weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from lib_lora.analysis.comparison import Cell, Comparison, draw_comparison
from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.grid import draws_japanese
from lib_lora.blocks.tag import strip_tags
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.blocks.tag_resolve import format_tag
from lib_lora.errors import AtelierError
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.host.in_groups import Wish
from lib_lora.host.infotext import write_png
from lib_lora.host.limits import check_order
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.fitted import ALL, FOUND, NONE, Fitted

COLUMNS = (NONE, ALL, FOUND)


def request_of(options: FitOptions) -> GenerateRequest:
    """Return what all pictures share."""
    return GenerateRequest("", seed=options.seed, clip_skip=options.clip_skip)


def before_after(
    found: Fitted,
    options: FitOptions,
    prompts: Sequence[str],
    host: Host,
    path: Path,
    progress: Progress,
    *,
    language: str = "en",
) -> tuple[Path | None, tuple[str, ...]]:
    """Draw each prompt and seed without the LoRA, with all of it and with the found weights, as one labeled picture.

    Args:
        found: the weights.
        options: seeds, clip skip.
        prompts: one or more; LoRA tags in them are left out.
        host: who draws.
        path: where the picture is written.
        progress: is told of the steps; a stop keeps what is drawn.
        language: of the labels.

    Returns:
        The picture's file, None where nothing was drawn, and what there is to say. Weights that were found are not lost
        because their pictures fail, so an error is a sentence as well.
    """
    request, notes = request_of(options), dict[str, None]()
    bare = {NONE: "", ALL: format_tag(ResolvedTag(options.lora)), FOUND: found.tag}
    rows = [(strip_tags(prompt).strip(), options.seed + n) for prompt in prompts for n in range(options.seeds)]
    wishes = [Wish(f"{text} {bare[kind]}".strip(), seed) for kind in COLUMNS for text, seed in rows]
    images: list[Image.Image] = []
    try:
        check_order(request, len(wishes), native_side=host.model.native_side)
        for made in host.generate_each(request, wishes, progress):
            images += made.images
            notes.update(dict.fromkeys((*made.notes, *(each.sentence for each in made.problems))))
        if images:
            write_png(path, _grid(found, rows, images, request, language))
    except AtelierError as error:
        notes[say("There are no pictures before and after: {reason}", reason=error)] = None
        return None, tuple(notes)
    if len(images) < len(wishes):
        notes[say("The pictures before and after were stopped; the weights are whole.")] = None
    return path if images else None, tuple(notes)


def _grid(
    found: Fitted, rows: Sequence[tuple[str, int]], images: Sequence[Image.Image], request: GenerateRequest, lang: str
) -> Image.Image:
    tell = partial(sentence_in_words, language=lang if lang == "en" or draws_japanese() else "en")
    titles = {one.kind: one.title for one in found.ways}
    each = [Cell(image) for image in images] + [Cell()] * (len(rows) * len(COLUMNS) - len(images))
    cells = [each[number :: len(rows)] for number in range(len(rows))]
    how = say("{n} {n:step|steps}, CFG {cfg:g}", n=request.steps, cfg=request.cfg_scale)
    return draw_comparison(
        Comparison(
            found.lora,
            f"{found.vector.format()} · {tell(how)}",
            tell(found.said),
            cells,
            columns=[tell(titles[kind]) for kind in COLUMNS],
            rows=[tell(say("{prompt}, seed {seed}", prompt=prompt, seed=seed)) for prompt, seed in rows],
        )
    )

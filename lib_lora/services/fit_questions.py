"""What a search for block weights asks the model: of the subject and of other things, learned from and held out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lib_lora.analysis.fit.ask import neutral_questions, outside, picture_questions
from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.fit.samples import Question
from lib_lora.data.files import PICTURE_SUFFIXES
from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import describe
from lib_lora.host.base import LoadedModel, is_small
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.block_tiers import NEUTRAL, NEUTRAL_SMALL
from lib_lora.train.options import from_mapping
from lib_lora.train.recipes import facts_of
from lib_lora.train.training_set import prepare
from lib_lora.walk import has_ending, list_folder

OTHERS = (
    *NEUTRAL,
    "a cat sleeping on a sofa",
    "1boy, school uniform",
    "a red car on a road",
    "a wooden house by a lake",
    "portrait of an old man",
    "flowers in a vase",
    "a plate of sushi",
    "a castle on a hill, sunset",
)
OTHERS_SMALL = (
    *NEUTRAL_SMALL,
    "small blue circle at the top, red background",
    "tulip, gray background",
    "ninja",
    "boy, yellow background",
    "small pear on the right, black background",
    "droplet",
    "balloon",
    "ghost",
)
"""Twelve captions that a LoRA should leave alone; the second for the pocket model."""


@dataclass(frozen=True)
class Asked:
    """Questions of the subject, and those that the LoRA should not change; a caption of each that is held out."""

    learned: tuple[list[Question], list[Question]]
    held: tuple[list[Question], list[Question]]
    prompts: tuple[str, str]
    notes: tuple[str, ...]


def ask(options: FitOptions, model: LoadedModel, lora: LoraFile, progress: Progress) -> Asked:
    """Return what is asked of the model.

    Raises:
        InputError: nothing says what the trigger is, or a picture cannot be used.
        StoppedError: somebody asked to stop.
    """
    others = list(options.neutral or (OTHERS_SMALL if is_small(model.native_side) else OTHERS))
    notes: list[str] = []
    parts = _parted(others, options)
    neutral = [_walked(options, model, captions, 1 + number, progress) for number, captions in enumerate(parts)]
    if options.images:
        subject, caption = _of_pictures(options, model, notes, progress)
        for some, more in zip(neutral, subject, strict=True):
            some += outside(more)
    else:
        subject, caption = _of_drawings(options, model, lora, notes, progress)
    return Asked((subject[0], neutral[0]), (subject[1], neutral[1]), (caption, parts[1][0]), tuple(notes))


def counts(options: FitOptions, model: LoadedModel) -> tuple[int, int]:
    """Return about how many pictures or drawings of the subject, and captions of other things, an order has."""
    if options.images:
        folder = list_folder(Path(options.images))
        files = [*folder.files, *(path for below in folder.folders for path in list_folder(below).files)]
        subject = sum(has_ending(path, PICTURE_SUFFIXES) for path in files)
    else:
        subject = max(1, len(options.trigger)) * options.rendered
    return subject, len(options.neutral or OTHERS)


def _walked(
    options: FitOptions, model: LoadedModel, captions: Sequence[str], number: int, progress: Progress
) -> list[Question]:
    return neutral_questions(
        model,
        captions,
        levels=options.levels,
        seed=options.seed + number,
        clip_skip=options.clip_skip,
        progress=progress,
    )


def _of_pictures(
    options: FitOptions, model: LoadedModel, notes: list[str], progress: Progress
) -> tuple[list[list[Question]], str]:
    """Return the questions of the folder's pictures, learned from and held out, and a held-out caption."""
    latents, captions, masks, said = _pictures(options, model, progress)
    notes += said
    parts = _parted(list(range(len(latents))), options)
    found = [
        picture_questions(
            model,
            [latents[index] for index in chosen],
            [captions[index] for index in chosen],
            levels=options.levels,
            seed=options.seed + 11 + number,
            masks=[masks[index] for index in chosen],
        )
        for number, chosen in enumerate(parts)
    ]
    return found, captions[parts[1][0]]


def _of_drawings(
    options: FitOptions, model: LoadedModel, lora: LoraFile, notes: list[str], progress: Progress
) -> tuple[list[list[Question]], str]:
    """Return the questions on the way to what the LoRA draws for its trigger; what it says there is to be kept."""
    triggers = list(options.trigger) or _said_trigger(lora, notes)
    notes.append(say("No pictures are given: what the LoRA itself draws for {captions:; } is kept.", captions=triggers))
    parts = _parted([caption for caption in triggers for _ in range(options.rendered)], options)
    with attach(model, lora, 1.0):
        found = [_walked(options, model, captions, 21 + number, progress) for number, captions in enumerate(parts)]
    return found, parts[1][0]


def _said_trigger(lora: LoraFile, notes: list[str]) -> list[str]:
    said = describe(lora.metadata).fields["trigger_words"]
    if not said:
        raise InputError(
            "It is not known what triggers {name}: no caption is given, and the file names none",
            name=lora.name,
            where="trigger",
            cure="Give its training pictures, or captions with the trigger word.",
            option="images",
        )
    notes.append(say("The trigger is what the file says: {text}.", text=said))
    return [said]


def _parted(things: list[Any], options: FitOptions) -> tuple[list[Any], list[Any]]:
    """Return what is learned from, and what is held out: by the seed, at least one of each where there are two."""
    if len(things) < 2:
        return things, things
    order = random.Random(options.seed).sample(range(len(things)), len(things))
    count = min(len(things) - 1, max(1, round(options.holdout * len(things))))
    held = set(order[:count])
    parts = ([one for n, one in enumerate(things) if (n in held) is side] for side in (False, True))
    learned, measured = parts
    return learned, measured


def _pictures(
    options: FitOptions, model: LoadedModel, progress: Progress
) -> tuple[list[Tensor], list[str], list[Tensor | None], list[str]]:
    """Return the folder's pictures as latents with captions and masks, read as a training reads them."""
    values = {"images": str(Path(options.images).resolve()), "name": "fit", "masks": options.masks, "flip": False}
    chosen = from_mapping(
        {name: value for name, value in values.items() if value != ""}, where="fit", model=facts_of(model)
    )
    samples = [one for one in prepare(model, chosen, progress).samples if not one.picture.is_reg]
    latents, captions = [one.latents[0] for one in samples], [one.caption for one in samples]
    masks = [None if one.masks is None else one.mask(0) for one in samples]
    notes: list[str] = []
    if len(samples) < 2:
        notes.append(say("There is one picture alone, so it is learned from and measured with: the numbers flatter."))
    return latents, captions, masks, notes

"""Find a LoRA's block weights: from options to questions, the search, and what it does on what was held out."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_lora.analysis.fit.ask import neutral_questions, outside, picture_questions
from lib_lora.analysis.fit.fit import (
    FitResult,
    FitSpec,
    Losses,
    State,
    asked_of_model,
    blocks_of,
    find_weights,
)
from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.fit.samples import Predictor, Question, losses
from lib_lora.atomic import make_folder, replace_file
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import describe
from lib_lora.host.base import Host, LoadedModel, is_small
from lib_lora.live.attach import attach
from lib_lora.live.targets import uniform_multipliers
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.block_tiers import CHUNK, CHUNK_SMALL, NEUTRAL, NEUTRAL_SMALL, lent
from lib_lora.services.fitted import Fitted, Way
from lib_lora.services.jobs.job import Job
from lib_lora.train.options import from_mapping
from lib_lora.train.recipes import facts_of
from lib_lora.train.training_set import prepare

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
KIND = "fit"
RANDOM = 4
"""Random vectors of the same mean that the found one is held against."""


def submit(atelier: Atelier, options: FitOptions) -> Job:
    """Queue a search; its rounds are kept, so that the same order goes on where it was stopped."""

    def work(job: Job) -> Fitted:
        folder = atelier.folders.outputs / "fit"
        make_folder(folder)
        name = hashlib.sha256(json.dumps(asdict(options)).encode()).hexdigest()[:16]
        record = folder / f"{name}.rounds"
        found = fit_weights(options, atelier.host, job, record=record)
        record.unlink(missing_ok=True)
        return found

    return atelier.queue.submit(KIND, options.lora, work)


def fit_weights(options: FitOptions, host: Host, progress: Progress, *, record: Path | None = None) -> Fitted:
    """Find the weights, and measure them on what was held out.

    Args:
        options: what is wanted.
        host: whose model is asked.
        progress: is told how far it is, and may stop it.
        record: a file that keeps the rounds; the same order goes on from there.

    Raises:
        InputError: the LoRA does not fit, has not learned the pictures, or nothing says what its trigger is.
        FileError: a picture cannot be read. StoppedError: somebody asked to stop; the rounds that are done are kept.
    """
    lora = host.read_lora(options.lora)
    with lent(host, options.lora):
        model = host.model
        asked, notes = _questions(options, model, lora, progress)
        spec = FitSpec(
            options.keep,
            options.low,
            options.high,
            options.rounds,
            options.halves,
            options.clip_skip,
            CHUNK_SMALL if is_small(model.native_side) else CHUNK,
        )
        mark = _mark(options, host, lora)
        state, lost = _kept(record, mark)
        result = find_weights(
            model, lora, *asked.learned, spec, state=state, keep=_keeper(record, mark), progress=progress
        )
        ways = _measured(model, lora, asked, result, host, spec, progress)
    layout = full_layout(model.family)
    given = {block: value for block, value in result.weights.items() if block in layout.names}
    return Fitted(result, BlockWeights.uniform(layout, 0.0).replaced(given), ways, (*notes, *lost))


@dataclass(frozen=True)
class _Asked:
    """Questions to learn from and to measure with: of the subject, and those that the LoRA should not change."""

    learned: tuple[list[Question], list[Question]]
    held: tuple[list[Question], list[Question]]


def _questions(
    options: FitOptions, model: LoadedModel, lora: LoraFile, progress: Progress
) -> tuple[_Asked, tuple[str, ...]]:
    others = list(options.neutral or (OTHERS_SMALL if is_small(model.native_side) else OTHERS))
    notes: list[str] = []
    subject: list[list[Question]] = []
    neutral: list[list[Question]] = []
    levels, seed, clip_skip = options.levels, options.seed, options.clip_skip
    parts = _parted(others, options)
    for number, captions in enumerate(parts):
        neutral.append(
            neutral_questions(
                model, captions, levels=levels, seed=seed + 1 + number, clip_skip=clip_skip, progress=progress
            )
        )
    if options.images:
        latents, captions, masks, said = _pictures(options, model, progress)
        notes += said
        for number, chosen in enumerate(_parted(list(range(len(latents))), options)):
            some = picture_questions(
                model,
                [latents[index] for index in chosen],
                [captions[index] for index in chosen],
                levels=levels,
                seed=seed + 11 + number,
                masks=[masks[index] for index in chosen],
            )
            subject.append(some)
            neutral[number] += outside(some)
    else:
        triggers = list(options.trigger) or _said_trigger(lora, notes)
        notes.append(
            say("No pictures are given: what the LoRA itself says to {captions:; } is kept.", captions=triggers)
        )
        for number in (0, 1):
            found = neutral_questions(
                model, triggers, levels=levels, seed=seed + 21 + number, clip_skip=clip_skip, progress=progress
            )
            subject.append(found)
    return _Asked((subject[0], neutral[0]), (subject[1], neutral[1])), tuple(notes)


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


def _measured(
    model: LoadedModel,
    lora: LoraFile,
    asked: _Asked,
    result: FitResult,
    host: Host,
    spec: FitSpec,
    progress: Progress,
) -> tuple[Way, ...]:
    """Return what the found weights and others do to what was held out."""
    every, blocks = uniform_multipliers(model.family), blocks_of(model, lora)
    mean = sum(result.weights.values()) / max(1, len(result.weights))
    ways: dict[str, dict[str, float]] = {
        "none": dict.fromkeys(every, 0.0),
        "ALL": dict(every),
        "found": result.weights,
        "same strength": dict.fromkeys(blocks, mean),
    }
    for name in host.presets.names():
        with suppress(AtelierError):  # of another family, or drawn by chance
            ways.setdefault(name, host.presets.resolve(name, model.family).as_dict())
    for number in range(RANDOM):
        drawn = random_weights(len(blocks), mean, spec.low, spec.high, seed=number)
        ways[f"random {number + 1}"] = dict(zip(blocks, drawn, strict=True))
    settings = [every | weights for weights in ways.values()]
    with torch.no_grad(), attach(model, lora, 0.0, strategy="factors") as attached:
        total = len(settings) * sum(map(len, asked.held))
        ask = Predictor(model, attached, clip_skip=spec.clip_skip, chunk=spec.chunk, progress=progress, total=total)
        subject = asked_of_model(ask, asked.held[0], every)
        neutral = asked_of_model(ask, asked.held[1], dict.fromkeys(every, 0.0))
        found = zip(losses(ask, subject, settings), losses(ask, neutral, settings), strict=True)
    return tuple(
        Way(name, dict(weights), Losses(*pair)) for (name, weights), pair in zip(ways.items(), found, strict=True)
    )


def random_weights(count: int, mean: float, low: float, high: float, *, seed: int) -> list[float]:
    """Return random weights between two bounds with exactly this mean, spread as widely as the bounds allow."""
    draw = random.Random(seed)
    drawn = [draw.random() for _ in range(count)]
    middle = sum(drawn) / max(1, count)
    away = [one - middle for one in drawn]
    room = [((high if one > 0 else low) - mean) / one for one in away if one]
    spread = min([high - low, *room])
    return [mean + spread * one for one in away]


def _mark(options: FitOptions, host: Host, lora: LoraFile) -> str:
    """Return what tells this order from another one: options, model, and the file as it is."""
    status = lora.path.stat() if lora.path is not None else None
    file = (str(lora.path), status.st_size, status.st_mtime_ns) if status is not None else ("", 0, 0)
    return hashlib.sha256(json.dumps([asdict(options), host.model.name, file]).encode()).hexdigest()


def _kept(record: Path | None, mark: str) -> tuple[State, tuple[str, ...]]:
    """Return the rounds that an earlier run of the same order kept, none of another order, and what is to be said."""
    if record is None or not record.is_file():
        return State(), ()
    try:
        row: Mapping[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return State(tuple(dict(point) for point in row["points"]) if row["order"] == mark else ()), ()
    except (OSError, ValueError, KeyError, TypeError):
        return State(), (say("The rounds that an earlier run kept cannot be read: the search began anew."),)


def _keeper(record: Path | None, mark: str) -> Callable[[State], None]:
    def keep(state: State) -> None:
        if record is not None:
            text = json.dumps({"order": mark, "points": state.points})
            replace_file(record, text.encode(), what=say("The state of the search"))

    return keep

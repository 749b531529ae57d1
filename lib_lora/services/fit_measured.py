"""What found block weights do to pictures and captions that were not learned from, beside other weights."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import torch

from lib_lora.analysis.fit.fit import asked_of_model, blocks_of
from lib_lora.analysis.fit.samples import Predictor
from lib_lora.analysis.fit.spec import FitResult, FitSpec, Losses
from lib_lora.analysis.fit.window import WHOLE, losses_through
from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import AtelierError
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import LoadedModel
from lib_lora.live.attach import attach
from lib_lora.live.targets import uniform_multipliers
from lib_lora.progress import Progress
from lib_lora.services.fit_questions import Asked
from lib_lora.services.fitted import ALL, CHANCE, FOUND, NONE, SAME, Way

RANDOM = 4
"""Random vectors of the same mean that the found one is held against."""


def measured(
    model: LoadedModel,
    lora: LoraFile,
    asked: Asked,
    result: FitResult,
    presets: PresetFile,
    spec: FitSpec,
    progress: Progress,
) -> tuple[Way, ...]:
    """Return what the found weights, and others, do to what was held out.

    Raises:
        StoppedError: somebody asked to stop.
    """
    every = uniform_multipliers(model.family)
    ways = _ways(every, blocks_of(model, lora), result, presets, model.family, spec)
    settings = [(every | one.weights, result.window if one.kind == FOUND else WHOLE) for one in ways]
    with torch.no_grad(), attach(model, lora, 0.0, strategy="factors") as attached:
        total = len(settings) * sum(map(len, asked.held))
        ask = Predictor(model, attached, clip_skip=spec.clip_skip, chunk=spec.chunk, progress=progress, total=total)
        subject = asked_of_model(ask, asked.held[0], every)
        neutral = asked_of_model(ask, asked.held[1], dict.fromkeys(every, 0.0))
        found = zip(losses_through(ask, subject, settings), losses_through(ask, neutral, settings), strict=True)
        return tuple(replace(one, held=Losses(*pair)) for one, pair in zip(ways, found, strict=True))


def ways_of(presets: PresetFile) -> int:
    """Return how many weights are compared, or some more."""
    return 4 + RANDOM + len(presets.names())


def calls_to_measure(asked: Asked, presets: PresetFile) -> int:
    """Return about how often the model is asked for it."""
    return ways_of(presets) * sum(map(len, asked.held))


def _ways(
    every: dict[str, float], blocks: tuple[str, ...], result: FitResult, presets: PresetFile, family: str, spec: FitSpec
) -> list[Way]:
    """Return the weights that are compared, not measured yet."""
    mean = sum(result.weights.values()) / max(1, len(result.weights))
    ways = [
        Way(NONE, dict.fromkeys(every, 0.0), kind=NONE),
        Way(ALL, dict(every), kind=ALL),
        Way(FOUND, result.weights, kind=FOUND),
        Way("same strength", dict.fromkeys(blocks, mean), kind=SAME),
    ]
    for name in presets.names():
        with suppress(AtelierError):  # of another family, or drawn by chance
            numbers = presets.resolve(name, family).as_dict()
            if all(name != one.name for one in ways):
                ways.append(Way(name, numbers))
    for number in range(RANDOM):
        drawn = random_weights(len(blocks), mean, spec.low, spec.high, seed=number)
        ways.append(Way(f"random {number + 1}", dict(zip(blocks, drawn, strict=True)), kind=CHANCE))
    return ways


def random_weights(count: int, mean: float, low: float, high: float, *, seed: int) -> list[float]:
    """Return random weights between two bounds with exactly this mean, spread as widely as the bounds allow."""
    draw = random.Random(seed)
    drawn = [draw.random() for _ in range(count)]
    middle = sum(drawn) / max(1, count)
    away = [one - middle for one in drawn]
    room = [((high if one > 0 else low) - mean) / one for one in away if one]
    spread = min([high - low, *room])
    return [mean + spread * one for one in away]

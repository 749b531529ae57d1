"""The questions that weights are found with: noised pictures, and latents on the model's own way to other prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lib_lora.analysis.fit.samples import Question
from lib_lora.analysis.tiers.prediction_tier import WALK, noise_of, stepped
from lib_lora.host.base import LoadedModel
from lib_lora.host.noise_schedule import VELOCITY
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


def levels_of(model: LoadedModel, levels: int) -> list[int]:
    """Return timesteps in the middles of equal parts, rising."""
    steps = len(model.alphas_cumprod)
    return [round(steps * (2 * part + 1) / (2 * levels)) for part in range(levels)]


def picture_questions(
    model: LoadedModel,
    latents: Sequence[Tensor],
    captions: Sequence[str],
    *,
    levels: int,
    seed: int,
    masks: Sequence[Tensor | None] | None = None,
) -> list[Question]:
    """Return each picture noised at each level, with the noise (or velocity) that the model should say.

    Args:
        model: whose schedule and prediction are meant.
        latents: ``(4, h, w)`` of each picture.
        captions: one a picture.
        levels: how many noise levels.
        seed: of the noise.
        masks: how much each latent counts, ``(1, h, w)`` a picture, or None.
    """
    found, alphas = [], model.alphas_cumprod.double()
    velocity = model.prediction_type == VELOCITY
    for index, (clean, caption) in enumerate(zip(latents, captions, strict=True)):
        for step in levels_of(model, levels):
            noise = torch.randn(
                clean.shape, generator=torch.Generator().manual_seed(seed * 1_000_003 + index * 1009 + step)
            )
            signal, sigma = math.sqrt(float(alphas[step])), math.sqrt(1 - float(alphas[step]))
            clean_ = clean.float().cpu()
            target = signal * noise - sigma * clean_ if velocity else noise
            counts = None if masks is None or masks[index] is None else masks[index]
            noised = (signal * clean_ + sigma * noise)[None]
            found.append(Question(noised, step, caption, target[None], None if counts is None else counts[None]))
    return found


def outside(questions: Sequence[Question]) -> list[Question]:
    """Return masked questions anew, for what lies outside the mask: there the model should say what it says itself."""
    return [
        Question(one.latents, one.step, one.caption, None, (1 - one.counts).clamp(min=0))
        for one in questions
        if one.counts is not None
    ]


def neutral_questions(
    model: LoadedModel,
    captions: Sequence[str],
    *,
    levels: int,
    seed: int,
    clip_skip: int = 1,
    progress: Progress = QUIET,
) -> list[Question]:
    """Return latents at each level on the way of the model, without any LoRA, from noise to each caption's picture.

    DDIM without guidance (Song et al. 2020, arXiv:2010.02502).

    Raises:
        StoppedError: somebody asked to stop.
    """
    alphas, wanted, parts = model.alphas_cumprod.double(), levels_of(model, levels), WALK * levels
    steps = [round(len(alphas) * (2 * part + 1) / (2 * parts)) for part in reversed(range(parts))]
    found = []
    with torch.no_grad():
        for number, caption in enumerate(captions):
            condition = model.encode_text([caption], clip_skip)
            latents = noise_of(seed * 1_000_003 + number, model.native_side // model.pixels_per_latent).to(model.device)
            for step, following in zip(steps, [*steps[1:], None], strict=True):
                if step in wanted:
                    found.append(Question(latents.cpu(), step, caption))
                said = model.predict(latents, torch.full((1,), step, device=model.device), condition)
                latents = stepped(latents, said, alphas, step, following, velocity=model.prediction_type == VELOCITY)
            progress.passed(number + 1, len(captions), say("preparing"))
    return found

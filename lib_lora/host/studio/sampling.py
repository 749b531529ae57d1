"""The samplers that the studio offers, by the WebUI's names, over diffusers' schedulers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say

SAMPLERS: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {
    "euler": lambda kind, noise: EulerDiscreteScheduler(**noise, prediction_type=kind),
    "euler a": lambda kind, noise: EulerAncestralDiscreteScheduler(**noise, prediction_type=kind),
    "heun": lambda kind, noise: HeunDiscreteScheduler(**noise, prediction_type=kind),
    "ddim": lambda kind, noise: DDIMScheduler(**noise, prediction_type=kind, clip_sample=False, set_alpha_to_one=False),
    "dpm++ 2m": lambda kind, noise: DPMSolverMultistepScheduler(**noise, prediction_type=kind),
    "dpm++ 2m karras": lambda kind, noise: DPMSolverMultistepScheduler(
        **noise, prediction_type=kind, use_karras_sigmas=True
    ),
    "unipc": lambda kind, noise: UniPCMultistepScheduler(**noise, prediction_type=kind),
}

Predict = Callable[[Tensor, Tensor, int], Tensor]
"""Guided prediction: ``(latents (n, 4, h, w), timestep, number of the call from 0) -> (n, 4, h, w)``."""

_SECOND_ORDER = frozenset({"heun"})


def calls_of(sampler: str, steps: int) -> int:
    """Return how many calls of the denoiser the WebUI counts for ``steps``; prompt editing is measured in them."""
    return 2 * steps if sampler in _SECOND_ORDER else steps


def sampler_name(text: str) -> str:
    """Return the sampler's name as in `SAMPLERS`; InputError with the list where it is unknown."""
    name = " ".join(text.lower().replace("_", " ").split())
    if name not in SAMPLERS:
        raise InputError(
            "There is no sampler “{name}”",
            name=text,
            where=say("sampler"),
            cure="Choose one of: {names}.",
            names=SAMPLERS,
        )
    return name


def sample(
    predict: Predict,
    noise: Tensor,
    *,
    sampler: str,
    prediction_type: str,
    schedule: Mapping[str, Any],
    steps: int,
    generators: list[torch.Generator],
    before_step: Callable[[int], None] = lambda step: None,
    progress: Progress = QUIET,
) -> Tensor:
    """Return the latents that ``sampler`` makes of unit ``noise`` ``(n, 4, h, w)``.

    Args:
        predict: the guided prediction at a timestep.
        noise: standard normal noise.
        sampler: a name of `SAMPLERS`.
        prediction_type: ``epsilon`` or ``v_prediction``.
        schedule: the model's noise schedule, in the words of diffusers' schedulers.
        steps: sampling steps.
        generators: one a picture, for the samplers that add noise.
        before_step: called before each step with its index from 0.
        progress: is told of every step as it begins; a stop returns what is there.
    """
    scheduler = SAMPLERS[sampler](prediction_type, schedule)
    scheduler.set_timesteps(steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma
    extra = {"generator": generators} if sampler == "euler a" else {}
    # Second-order samplers visit a step twice; a step is one of the `steps` that a person counts.
    evaluations = len(scheduler.timesteps)
    for index, timestep in enumerate(scheduler.timesteps):
        step = index * steps // evaluations
        progress.update(step + 1, steps, say("sampling"))
        if progress.stopped:
            break
        before_step(step)
        output = predict(scheduler.scale_model_input(latents, timestep), timestep, index)
        latents = scheduler.step(output, timestep, latents, **extra).prev_sample
    return latents

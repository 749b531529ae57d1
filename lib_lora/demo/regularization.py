"""The demo's regularization pictures: many captions, each drawn once, several in one pass of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from lib_lora.demo import settings as use
from lib_lora.host.studio import StudioHost
from lib_lora.host.studio.host import to_pictures
from lib_lora.host.studio.sampling import sample
from lib_lora.progress import Progress, SubProgress

AT_ONCE = 8
"""Captions in a pass. A small model's single picture costs twice as much: its layers are too short for a processor."""


def draw_each(host: StudioHost, captions: Sequence[str], progress: Progress) -> Iterator[tuple[int, Image.Image]]:
    """Yield number and picture of each caption: what `generate` draws of it with its number as the seed.

    ``progress`` is told how many captions are drawn; a stop ends the drawing, and those of the present pass are lost.
    """
    for first in range(0, len(captions), AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, len(captions)))
        part = SubProgress(progress, first, len(numbers), len(captions), "drawing regularization pictures")
        with torch.no_grad():
            latents = _latents(host, [captions[n] for n in numbers], numbers, part)
            if progress.stopped:
                return
            yield from zip(numbers, to_pictures(host.model.decode(latents)), strict=True)


def _latents(host: StudioHost, captions: list[str], seeds: range, progress: Progress) -> Tensor:
    """Return the latents ``(n, 4, h, w)`` of some captions, under the demo's guidance."""
    model = host.model
    side = model.native_side // model.pixels_per_latent
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = torch.stack([torch.randn(4, side, side, generator=one) for one in generators]).to(model.device)
    cond = model.encode_text([""] * len(captions) + captions)

    def guided(latents: Tensor, timestep: Tensor, _call: int) -> Tensor:
        double = torch.cat([latents, latents]).to(model.dtype)
        without, with_ = model.predict(double, timestep.expand(len(double)).to(double.device), cond).float().chunk(2)
        return without + use.CFG * (with_ - without)

    return sample(
        guided,
        noise,
        sampler="euler",
        prediction_type=model.prediction_type,
        schedule=model.noise,
        steps=use.REGULARIZATION_STEPS,
        generators=generators,
        progress=progress,
    )

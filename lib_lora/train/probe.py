"""Losses that can be compared: the same pictures, noise and timesteps every time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib_lora.host.base import LoadedModel
from lib_lora.train.loss import noised, per_sample_mse

TIMESTEPS = (100, 300, 500, 700, 900)
CHUNK = 16
"""Samples a pass."""


def steady_loss(
    model: LoadedModel,
    latents: Sequence[Tensor],
    captions: Sequence[str],
    *,
    seed: int = 0,
) -> float:
    """Return the mean denoising error over pictures × `TIMESTEPS`, with noise fixed by ``seed``.

    Args:
        model: with or without LoRAs attached.
        latents: one ``(4, h, w)`` a picture.
        captions: one a picture.
        seed: of the noise; the same seed makes numbers of two models comparable.
    """
    total = 0.0
    jobs = [(index, step) for index in range(len(latents)) for step in TIMESTEPS]
    with torch.no_grad():
        by_shape: dict[torch.Size, list[tuple[int, int]]] = {}
        for index, step in jobs:
            by_shape.setdefault(latents[index].shape, []).append((index, step))
        for same in by_shape.values():
            for start in range(0, len(same), CHUNK):
                total += _chunk_error(model, latents, captions, same[start : start + CHUNK], seed)
    return total / len(jobs)


def _chunk_error(
    model: LoadedModel,
    latents: Sequence[Tensor],
    captions: Sequence[str],
    jobs: Sequence[tuple[int, int]],
    seed: int,
) -> float:
    """Return the summed error of some (picture, timestep) pairs."""
    clean = torch.stack([latents[index] for index, _ in jobs]).to(model.device)
    noise = [
        torch.randn(clean.shape[1:], generator=torch.Generator().manual_seed(seed * 1_000_003 + index * 1009 + step))
        for index, step in jobs
    ]
    steps = torch.tensor([step for _, step in jobs], device=model.device)
    cond = model.encode_text([captions[index] for index, _ in jobs])
    batch = noised(
        clean,
        torch.stack(noise).to(model.device),
        steps,
        alphas_cumprod=model.alphas_cumprod,
        prediction_type=model.prediction_type,
    )
    return float(per_sample_mse(model, batch, cond).sum())

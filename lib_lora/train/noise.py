"""The noise of a step: plain, offset, of several resolutions, and what the model's input is disturbed by.

Draws, their order and the formulas are sd-scripts' own, so that the same generator gives the same noise.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from lib_lora.train.options.noise import NoiseOptions


def draw_noise(clean: Tensor, options: NoiseOptions, generator: torch.Generator) -> Tensor:
    """Return the noise that a step adds to latents, and that a model which predicts noise should say.

    Args:
        clean: latents ``(B, C, h, w)`` on the CPU.
        options: of the run.
        generator: every draw is of it; what is off draws nothing.
    """
    noise = torch.randn(clean.shape, generator=generator)
    if options.noise_offset:
        noise = noise + _offset(clean, options, generator) * torch.randn(*clean.shape[:2], 1, 1, generator=generator)
    if options.multires_noise_iterations:
        ratios = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
        noise = multiresolution(
            noise, options.multires_noise_iterations, options.multires_noise_discount, ratios, generator
        )
    return noise


def _offset(clean: Tensor, options: NoiseOptions, generator: torch.Generator) -> Tensor | float:
    """Return the strength of one common value per sample and channel, by which dark and bright can be learned."""
    strength: Tensor | float = options.noise_offset
    if options.noise_offset_random_strength:
        strength = torch.rand(1, generator=generator) * strength
    if options.adaptive_noise_scale:
        mean = clean.mean(dim=(2, 3), keepdim=True).abs()
        strength = (strength + options.adaptive_noise_scale * mean).clamp(min=0.0)
    return strength


def multiresolution(
    noise: Tensor, iterations: int, discount: float, ratios: random.Random, generator: torch.Generator
) -> Tensor:
    """Return ``noise`` with coarser and coarser noise in it, back at a standard deviation of 1.

    The i-th is ``rⁱ`` times smaller than the latents, r drawn from 2 to 4, and counts ``discountⁱ`` (J. Whitaker,
    multi-resolution noise for diffusion model training, 2023).
    """
    (batch, channels), (height, width) = noise.shape[:2], noise.shape[2:]
    for iteration in range(iterations):
        shrink = (ratios.random() * 2 + 2) ** iteration
        rows, columns = max(1, int(height / shrink)), max(1, int(width / shrink))
        coarse = torch.randn(batch, channels, rows, columns, generator=generator)
        noise = noise + interpolate(coarse, size=(height, width), mode="bilinear") * discount**iteration
        if 1 in (rows, columns):
            break
    return noise / noise.std()


def perturbation(shape: torch.Size, options: NoiseOptions, generator: torch.Generator) -> Tensor | None:
    """Return what is added to the noise that the model sees and not to its target; None where nothing is.

    Input perturbation (arXiv:2301.11706): ``z_t`` is made of ``ε + γ·N``, the target stays ε.
    """
    if not options.ip_noise_gamma:
        return None
    strength: Tensor | float = options.ip_noise_gamma
    if options.ip_noise_gamma_random_strength:
        strength = torch.rand(1, generator=generator) * strength
    return strength * torch.randn(shape, generator=generator)

"""What training minimizes: the UNet's error on noised latents, weighted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.host.base import Conditioning, LoadedModel
from lib_lora.host.noise_schedule import VELOCITY, Schedule
from lib_lora.train.recipes import AUTO


def schedule_for(model: LoadedModel, wish: str) -> Schedule:
    """Return the noise schedule to train ``model`` on; ``wish`` is the option ``zero_terminal_snr``.

    Raises:
        InputError: zero terminal SNR is asked for and the model predicts noise.
    """
    if wish == AUTO:
        return model.schedule
    if wish == "on" and model.prediction_type != VELOCITY:
        raise InputError(
            "Zero terminal SNR needs a model that predicts the velocity, and this one predicts noise",
            where="zero_terminal_snr",
            cure="Leave it at auto, or choose a v-prediction checkpoint.",
        )
    return model.schedule.switched(wish == "on")


@dataclass(frozen=True)
class Noised:
    """Latents on their way to noise: what the UNet sees and what it should say.

    Attributes:
        latents: noised latents ``(B, 4, h, w)``.
        timesteps: integers ``(B,)``.
        target: the noise, or v ``(B, 4, h, w)``.
        snr: signal-to-noise ratio ``(B,)``.
    """

    latents: Tensor
    timesteps: Tensor
    target: Tensor
    snr: Tensor


def noised(clean: Tensor, noise: Tensor, timesteps: Tensor, *, alphas_cumprod: Tensor, prediction_type: str) -> Noised:
    """Return ``√ᾱ z + √(1−ᾱ) ε`` and its target: ε, or ``v = √ᾱ ε − √(1−ᾱ) z`` (arXiv:2202.00512)."""
    alpha = alphas_cumprod.to(clean.device)[timesteps].reshape(-1, 1, 1, 1).to(clean.dtype)
    signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
    target = noise if prediction_type == "epsilon" else signal * noise - sigma * clean
    snr = (alpha / (1 - alpha)).flatten()
    return Noised(signal * clean + sigma * noise, timesteps, target, snr)


def snr_weight(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Return the min-SNR-γ weight (arXiv:2303.09556): ``min(s, γ)/s`` for ε, ``min(s, γ)/(s+1)`` for v; 1 for γ = 0."""
    if gamma <= 0:
        return torch.ones_like(snr)
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1)  # 1 where nothing of the picture is left, too
    return snr.clamp(max=gamma) / (snr + 1)


def per_sample_mse(model: LoadedModel, batch: Noised, cond: Conditioning) -> Tensor:
    """Return each sample's mean squared error ``(B,)`` in fp32."""
    predicted = model.predict(batch.latents.to(model.dtype), batch.timesteps, cond)
    return (predicted.float() - batch.target.float()).pow(2).mean(dim=(1, 2, 3))


def draw_noise(shape: torch.Size, generator: torch.Generator, offset: float) -> Tensor:
    """Return unit noise; ``offset`` adds one common value per sample and channel, so dark and bright can be learned."""
    noise = torch.randn(shape, generator=generator)
    if offset:
        noise = noise + offset * torch.randn(*shape[:2], 1, 1, generator=generator)
    return noise

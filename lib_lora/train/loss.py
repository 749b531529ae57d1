"""What training minimizes: the UNet's error on noised latents, weighted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.host.base import Conditioning, LoadedModel
from lib_lora.host.noise_schedule import VELOCITY, Schedule
from lib_lora.train.options.loss import NOISE_LEVELS
from lib_lora.train.recipes import AUTO, resolved_gamma

if TYPE_CHECKING:
    from lib_lora.train.options.loss import LossOptions


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


def noised(
    clean: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    *,
    alphas_cumprod: Tensor,
    prediction_type: str,
    disturbed: Tensor | None = None,
) -> Noised:
    """Return ``√ᾱ z + √(1−ᾱ) ε`` and its target: ε, or ``v = √ᾱ ε − √(1−ᾱ) z`` (arXiv:2202.00512).

    Args:
        clean, noise: ``(B, C, h, w)``.
        timesteps: integers ``(B,)``.
        alphas_cumprod: ᾱ of every timestep.
        prediction_type: what the model says.
        disturbed: what is added to the noise that the model sees, and not to its target.
    """
    alpha = alphas_cumprod.to(clean.device)[timesteps].reshape(-1, 1, 1, 1).to(clean.dtype)
    signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
    target = noise if prediction_type == "epsilon" else signal * noise - sigma * clean
    snr = (alpha / (1 - alpha)).flatten()
    seen = noise if disturbed is None else noise + disturbed
    return Noised(signal * clean + sigma * seen, timesteps, target, snr)


def snr_weight(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Return the min-SNR-γ weight (arXiv:2303.09556): ``min(s, γ)/s`` for ε, ``min(s, γ)/(s+1)`` for v; 1 for γ = 0."""
    if gamma <= 0:
        return torch.ones_like(snr)
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1)  # 1 where nothing of the picture is left, too
    return snr.clamp(max=gamma) / (snr + 1)


def gamma_of(options: LossOptions, prediction_type: str) -> float:
    """Return the min-SNR gamma that acts on a model of this prediction; 0 is off."""
    return resolved_gamma(options.min_snr_gamma, prediction_type, debiased=options.debiased_estimation_loss)


HIGHEST_SNR = 1000.0
"""Nearly clean pictures, whose ratio grows beyond any bound, are weighed as if it were this."""


def step_weight(snr: Tensor, options: LossOptions, prediction_type: str) -> Tensor:
    """Return what each sample's error is multiplied by, for its signal-to-noise ratio; ``(B,)``.

    Min-SNR-γ (`snr_weight`), then what the options add to it. With ``s`` at most 1000: a v loss weighed as one of noise
    is multiplied by ``s/(s+1)``; a loss of noise gets ``c`` times itself over that, a v loss, added; debiased
    estimation (arXiv:2310.08442) multiplies by ``1/√s`` for ε, ``1/(s+1)`` for v. Options that are meant for the other
    prediction do nothing.
    """
    weight = snr_weight(snr, gamma_of(options, prediction_type), prediction_type)
    noise = prediction_type == "epsilon"
    bounded = snr.clamp(max=HIGHEST_SNR)
    if options.scale_v_pred_loss_like_noise_pred and not noise:
        weight = weight * (bounded / (bounded + 1))
    if options.v_pred_like_loss and noise:
        weight = weight * (1 + options.v_pred_like_loss * (bounded + 1) / bounded)
    if options.debiased_estimation_loss:
        weight = weight * (bounded.rsqrt() if noise else 1 / (bounded + 1))
    return weight


def huber_bound(snr: Tensor, timesteps: Tensor, options: LossOptions) -> Tensor:
    """Return where the error of each sample turns from square to plain; ``(B, 1, 1, 1)``.

    sd-scripts' schedules of ``c0 = huber_c``: ``(1−c0)/(1+σ)² + c0`` with ``σ² = 1/s``; ``c0^(t/1000)``; ``c0``. The
    last two times ``huber_scale``.
    """
    least = options.huber_c
    if options.huber_schedule == "snr":
        bound = (1 - least) / (1 + snr.rsqrt()) ** 2 + least
    elif options.huber_schedule == "exponential":
        bound = torch.exp(timesteps * (math.log(least) / NOISE_LEVELS)) * options.huber_scale
    else:
        bound = torch.full_like(snr, least * options.huber_scale)
    return bound.reshape(-1, 1, 1, 1)


def distance(predicted: Tensor, batch: Noised, options: LossOptions) -> Tensor:
    """Return how far a prediction is from its target, for each value, in fp32; ``(B, C, h, w)``.

    Squared (l2), absolute (l1), pseudo-Huber ``2c(√(d²+c²)−c)``, or smooth L1 ``2(√(d²+c²)−c)``. The last two are
    written as ``2d²/(√(d²+c²)+c)``, which does not lose small errors in the difference of two near numbers.
    """
    difference = predicted.float() - batch.target.float()
    if options.loss_type == "l2":
        return difference.pow(2)
    if options.loss_type == "l1":
        return difference.abs()
    bound = huber_bound(batch.snr, batch.timesteps, options)
    square = difference.pow(2)
    smooth = 2 * square / ((square + bound.pow(2)).sqrt() + bound)
    return smooth * bound if options.loss_type == "huber" else smooth


def per_sample_mse(model: LoadedModel, batch: Noised, cond: Conditioning) -> Tensor:
    """Return each sample's mean squared error ``(B,)`` in fp32."""
    predicted = model.predict(batch.latents.to(model.dtype), batch.timesteps, cond)
    return (predicted.float() - batch.target.float()).pow(2).mean(dim=(1, 2, 3))

"""What is minimized: the distance, how noise levels are weighed, which of them are trained."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import AUTO, AutoFloat, option

LOSSES = ("l2", "l1", "huber", "smooth_l1")
HUBER_SCHEDULES = ("snr", "exponential", "constant")
NOISE_LEVELS = 1000
"""Timesteps of the noise schedule of every model that is trained."""


@dataclass(frozen=True)
class LossOptions:
    """See `TrainOptions`."""

    loss_type: str = option(
        "l2",
        "Loss",
        "l2: usual. huber, smooth_l1 and l1 let single wrong pixels count for less: watermarks, JPEG dirt, odd "
        "pictures.",
        choices=LOSSES,
    )
    huber_schedule: str = option(
        "snr",
        "Huber schedule",
        "How the bound of huber and smooth_l1 goes down as noise grows.",
        choices=HUBER_SCHEDULES,
    )
    huber_c: float = option(
        0.1, "Huber bound", "Errors above it count by their size, below by their square.", low=1e-4, high=10
    )
    huber_scale: float = option(
        1.0, "Huber scale", "Factor on the bound, with the schedules exponential and constant.", low=1e-3, high=1000
    )
    min_snr_gamma: AutoFloat = option(
        AUTO,
        "Min-SNR gamma",
        "Weighs easy and hard steps alike. auto: 5, but off for a model that predicts velocity, where it would "
        "leave out the noisiest steps, and beside debiased estimation. 0 turns it off.",
        low=0,
        high=1000,
    )
    debiased_estimation_loss: bool = option(
        False, "Debiased estimation", "Another weighing of the steps: the noisier, the more it counts."
    )
    scale_v_pred_loss_like_noise_pred: bool = option(
        False, "Weigh v as noise", "For v-prediction models: weighs the steps as a model that predicts noise does."
    )
    v_pred_like_loss: float = option(
        0.0,
        "Share of a v loss",
        "For models that predict noise: adds so much of the loss of a v-prediction model, which minds the noisiest "
        "steps.",
        low=0,
        high=100,
    )
    zero_terminal_snr: str = option(
        AUTO,
        "Zero terminal SNR",
        "For v-prediction models whose schedule ends in pure noise (NoobAI v-pred and its merges). auto: as the "
        "checkpoint or the WebUI says.",
        choices=(AUTO, "on", "off"),
    )
    min_timestep: int = option(
        0, "Lowest timestep", "Trains from this noise level on; low ones are fine detail.", low=0, high=NOISE_LEVELS - 1
    )
    max_timestep: int = option(
        NOISE_LEVELS,
        "Highest timestep",
        "Trains up to this noise level, itself left out; high ones are composition and shapes.",
        low=1,
        high=NOISE_LEVELS,
    )

"""The noise that pictures are trained in."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option


@dataclass(frozen=True)
class NoiseOptions:
    """See `TrainOptions`."""

    noise_offset: float = option(
        0.0, "Noise offset", "0.05 to 0.1 helps with very dark and very bright pictures.", low=0, high=1
    )
    noise_offset_random_strength: bool = option(
        False, "Random noise offset", "Draws the offset anew at every step, between 0 and the noise offset."
    )
    adaptive_noise_scale: float = option(
        0.0,
        "Adaptive noise offset",
        "Adds to the noise offset, for each picture, so much of its mean brightness and color.",
        low=-10,
        high=10,
    )
    multires_noise_iterations: int = option(
        0,
        "Multi-resolution noise",
        "Adds coarser and coarser noise, so many sizes of it: livelier light. 6 to 10 are usual; 0 is off.",
        low=0,
        high=16,
    )
    multires_noise_discount: float = option(
        0.3, "Discount of coarse noise", "Each coarser noise counts so much of the one before.", low=0, high=1
    )
    ip_noise_gamma: float = option(
        0.0,
        "Input perturbation",
        "Disturbs what the model sees a little, but not what it should say; 0.1 is usual, 0 is off.",
        low=0,
        high=1,
    )
    ip_noise_gamma_random_strength: bool = option(
        False, "Random input perturbation", "Draws its strength anew at every step, between 0 and the value."
    )

"""Ordinary pictures of the class beside those that are learned."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option


@dataclass(frozen=True)
class RegularizationOptions:
    """See `TrainOptions`."""

    reg_images: str = option(
        "",
        "Regularization pictures",
        "Folder with ordinary pictures of the class, so that the model keeps what it knew.",
        form="DIR",
    )
    prior_loss_weight: float = option(
        1.0, "Weight of these pictures", "How much regularization pictures count in the loss.", low=0, high=10_000
    )
    prior_from_model: bool = option(
        True,
        "Hold to the model",
        "Regularization pictures hold the model at what it predicted before, not at the pictures.",
    )

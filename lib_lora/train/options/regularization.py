"""Ordinary pictures of the class beside those that are learned."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.host.request import LARGEST_SEED
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
    reg_count: int = option(
        0,
        "Number of regularization pictures",
        "The model draws what is missing before the training and keeps it for other runs; 0 draws none.",
        low=0,
        high=10_000,
    )
    reg_prompts: tuple[str, ...] = option(
        (),
        "Class prompt",
        "What is drawn, one prompt a line, in turn; also the captions. Without it the class word.",
        form="PROMPT",
    )
    reg_negative: str = option("", "Negative class prompt", "Negative prompt of the pictures that are drawn.")
    reg_steps: int = option(
        20,
        "Steps (class pictures)",
        "Sampling steps of the pictures that are drawn; more take longer.",
        low=1,
        high=150,
    )
    reg_cfg: float = option(
        7.0, "CFG scale (class pictures)", "How closely drawn pictures follow the class prompt.", low=1, high=30
    )
    reg_seed: int = option(
        0,
        "Seed (class pictures)",
        "Of the first picture that is drawn; the others count up from it.",
        low=0,
        high=LARGEST_SEED,
    )
    prior_loss_weight: float = option(
        1.0, "Weight of these pictures", "How much regularization pictures count in the loss.", low=0, high=10_000
    )
    prior_from_model: bool = option(
        True,
        "Hold to the model",
        "Regularization pictures hold the model at what it predicted before, not at the pictures.",
    )

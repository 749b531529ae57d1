"""How it learns: optimizer, rates, schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_lora.options import option
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options.length import MOST_STEPS
from lib_lora.train.schedulers import SCHEDULERS


@dataclass(frozen=True)
class LearningOptions:
    """See `TrainOptions`."""

    optimizer: str = option(
        "DAdaptAdanIP",
        "Optimizer",
        "DAdapt and Prodigy find the learning rate by themselves; AdamW needs one. Another one is given as "
        "package.module.Class.",
        choices=tuple(OPTIMIZERS),
        paths=True,
    )
    optimizer_args: Mapping[str, Any] = option(
        {}, "Optimizer arguments", "Further arguments as name=value, separated by commas.", form="NAME=VALUE"
    )
    learning_rate: float = option(
        1.0, "Learning rate", "1.0 for DAdapt and Prodigy, about 0.0001 for AdamW.", low=0, high=100
    )
    unet_ratio: float = option(1.0, "UNet ratio", "Factor on what the UNet learns; 0 leaves it out.", low=0, high=100)
    text_encoder_ratio: float = option(
        0.5,
        "Text encoder ratio",
        "Factor on what the text encoder learns; 0 leaves it out and is faster.",
        low=0,
        high=100,
    )
    scheduler: str = option(
        "cosine_with_restarts", "Scheduler", "How the learning rate goes down over the run.", choices=tuple(SCHEDULERS)
    )
    scheduler_cycles: int = option(1, "Cycles", "How often cosine_with_restarts starts again.", low=1, high=1000)
    scheduler_power: float = option(1.0, "Power", "Power of the polynomial scheduler.", low=0.01, high=100)
    scheduler_lowest: float = option(
        0.0, "Lowest rate", "Share of the learning rate that the scheduler ends at; 0 to 1.", low=0, high=1
    )
    scheduler_decay: float = option(
        0.2,
        "Decay of wsd",
        "Steps at the end in which wsd lets the rate fall; below 1 a share of all steps.",
        low=0,
        high=MOST_STEPS,
    )
    as_sd_scripts: bool = option(
        False,
        "Rates as sd-scripts",
        "Repeats a published recipe to the number: a rate for each part, a warmup from 0, an optimizer without our "
        "arguments.",
    )
    warmup: float = option(
        0.0, "Warmup", "Steps in which the rate rises; below 1 a share of all steps.", low=0, high=MOST_STEPS
    )
    max_grad_norm: float = option(
        1.0, "Gradient limit", "Gradients are cut to this norm; 0 turns it off.", low=0, high=1000
    )
    loraplus_lr_ratio: float = option(
        0.0,
        "LoRA+ ratio",
        "The up half of every layer learns so much faster; 16 is the paper's value, 0 turns it off.",
        low=0,
        high=1000,
    )
    loraplus_unet_lr_ratio: float = option(
        0.0, "LoRA+ ratio of the UNet", "In place of the LoRA+ ratio for the UNet; 0 is the same.", low=0, high=1000
    )
    loraplus_text_encoder_lr_ratio: float = option(
        0.0,
        "LoRA+ ratio of the text encoder",
        "In place of the LoRA+ ratio for the text encoder; 0 is the same.",
        low=0,
        high=1000,
    )

    @property
    def loraplus(self) -> tuple[float, float]:
        """What the up halves of text encoder and UNet learn faster by; 1 is no faster."""
        text, unet = self.loraplus_text_encoder_lr_ratio, self.loraplus_unet_lr_ratio
        return text or self.loraplus_lr_ratio or 1.0, unet or self.loraplus_lr_ratio or 1.0

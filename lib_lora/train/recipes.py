"""Recipes: what each kind of LoRA starts from. Sources are the write-ups behind ``docs/decisions.md``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_lora.options import AUTO

if TYPE_CHECKING:
    from lib_lora.host.base import LoadedModel


@dataclass(frozen=True)
class ModelFacts:
    """What a recipe must know of the model that it is cooked for."""

    native_side: int
    prediction_type: str
    zero_terminal_snr: bool = False

    @property
    def small(self) -> bool:
        """Whether the model is too small for what is usual with SD1 and SDXL."""
        from lib_lora.host.base import is_small

        return is_small(self.native_side)


def facts_of(model: LoadedModel) -> ModelFacts:
    """Return what a recipe must know of ``model``."""
    return ModelFacts(model.native_side, model.prediction_type, model.schedule.zero_terminal)


_ARTICLE: dict[str, Any] = {
    "dim": 16,
    "alpha": 1.0,
    "scheduler": "cosine_with_restarts",
    "scheduler_cycles": 1,
    "epochs": 20,
    "save_every_epochs": 5,
}

# Without a limit the estimate of D-Adaptation can grow a hundredfold within ten steps and never comes back; its authors
# recommend 1.02 as a warmup of its own.
_CAREFUL: dict[str, Any] = {"growth_rate": 1.02}

KINDS: Mapping[str, Mapping[str, Any]] = {
    "character": _ARTICLE
    | {
        "optimizer": "DAdaptAdanIP",
        "optimizer_args": _CAREFUL,
        "learning_rate": 1.0,
        "unet_ratio": 1.0,
        "text_encoder_ratio": 0.5,
        "target_steps": 3000,
    },
    "style": _ARTICLE
    | {
        "optimizer": "AdaFactor",
        "optimizer_args": {"relative_step": True, "scale_parameter": True, "warmup_init": False},
        "learning_rate": 0.0,
        "target_steps": 2000,
    },
    "object": _ARTICLE
    | {
        "optimizer": "DAdaptAdanIP",
        "optimizer_args": _CAREFUL,
        "learning_rate": 1.0,
        "unet_ratio": 1.0,
        "text_encoder_ratio": 0.5,
        "target_steps": 2000,
    },
    # Floating heads and locked backgrounds vanish with alpha far below dim; the study's "head" preset.
    "concept": {
        "dim": 128,
        "alpha": 1.0,
        "optimizer": "AdamW",
        "learning_rate": 1e-4,
        "text_encoder_ratio": 1.0,
        "scheduler": "cosine_with_restarts",
        "warmup": 0.01,
        "epochs": 10,
        "save_every_epochs": 1,
        "target_steps": 3000,
        "shuffle_caption": True,
        "keep_tokens": 1,
    },
}
"""Kind to the options that it sets; everything else keeps its default."""

SMALL: dict[str, Any] = {
    # A small model draws new shapes with its convolutions more than with its attention.
    "network": "locon",
    "dim": 16,
    "alpha": 4.0,
    "conv_dim": 16,
    "conv_alpha": 4.0,
    "optimizer": "DAdaptAdanIP",
    # From its own start, 1e-6, D-Adaptation would search the step size for longer than the whole run takes.
    "optimizer_args": _CAREFUL | {"d0": 3e-3},
    "learning_rate": 1.0,
    "unet_ratio": 1.0,
    "text_encoder_ratio": 0.5,
    "batch_size": 8,
    "epochs": 20,
    "save_every_epochs": 5,
    "target_steps": 240,
    # Its error on what it knows is tiny, so keeping it needs a large weight.
    "prior_loss_weight": 180.0,
}
"""What a small model needs instead, whatever the kind: minutes on two cores in place of hours on a GPU."""


def recipe_for(kind: str, model: ModelFacts | None = None) -> dict[str, Any]:
    """Return the options that a kind's recipe sets, adjusted to the model where it is known."""
    recipe = dict(KINDS.get(kind, {}))
    return recipe | SMALL if model is not None and model.small else recipe


MIN_SNR_GAMMA = 5.0
"""What `AUTO` means for a model that predicts the noise: the authors' value (Hang et al., arXiv:2303.09556)."""


def resolved_gamma(gamma: float | str, prediction_type: str, *, debiased: bool = False) -> float:
    """Return the min-SNR gamma that acts; 0 is off, and `AUTO` is 5 for noise and off for velocity.

    `AUTO` is off, too, beside debiased estimation, which weighs the steps otherwise; a number acts with it.

    The loss of a velocity is weighted ``min(s, γ) / (s + 1)``, which falls to 0 with the signal-to-noise ratio s:
    next to nothing would be learned in the noisiest steps, in which new shapes begin. For noise the weight is 1 there.
    """
    if gamma != AUTO:
        return float(gamma)
    return MIN_SNR_GAMMA if prediction_type == "epsilon" and not debiased else 0.0

"""Recipes: what each kind of LoRA starts from. Sources are the write-ups behind ``docs/decisions.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ARTICLE: Mapping[str, Any] = {
    "dim": 16,
    "alpha": 1.0,
    "scheduler": "cosine_with_restarts",
    "scheduler_cycles": 1,
    "epochs": 20,
    "save_every_epochs": 5,
}

# Without a limit the estimate of D-Adaptation can grow a hundredfold within ten steps and never comes back; its authors
# recommend 1.02 as a warmup of its own.
_CAREFUL = {"growth_rate": 1.02}

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

"""The table of comparisons: a run's options in our spelling and in the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CAPTIONS = ("red circle, white background", "a cat", "blue star, on grass", "1girl, smile, looking at viewer")
WEIGHTED = ("(red circle:1.3), white background", "a [cat]", "((blue star)), on grass", "1girl, (smile:0.7)")

OURS: dict[str, Any] = {
    "kind": "concept",
    "optimizer": "AdamW",
    "learning_rate": 1e-3,
    "text_encoder_ratio": 0.5,
    "scheduler": "constant",
    "as_sd_scripts": True,
    "dim": 4,
    "alpha": 2.0,
    "min_snr_gamma": 0,
    "repeats": 1,
    "shuffle_caption": False,
    "seed": 3,
}
THEIRS: dict[str, Any] = {
    "optimizer_type": "AdamW",
    "learning_rate": 1e-3,
    "text_encoder_lr": [5e-4],
    "unet_lr": 1e-3,
    "lr_scheduler": "constant",
    "network_dim": 4,
    "network_alpha": 2.0,
    "sdpa": True,
}
"""What every case begins with."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: its kind and what it is about.
        ours: training options, beside those of every case.
        theirs: sd-scripts' arguments, likewise.
        network_args: arguments of its network module.
        predicts: ``epsilon``, ``v`` or ``ztsnr``.
        captions: one a picture.
        mended: what of the reference is put right first, where the wanted behavior is another; "" for nothing.
    """

    name: str
    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)
    network_args: Mapping[str, Any] = field(default_factory=dict)
    predicts: str = "epsilon"
    captions: tuple[str, ...] = CAPTIONS
    mended: str = ""

    def options(self) -> dict[str, Any]:
        """Return our options."""
        return {**OURS, **self.ours}

    def arguments(self) -> dict[str, Any]:
        """Return the reference's arguments."""
        marks = {"v_parameterization": self.predicts != "epsilon", "zero_terminal_snr": self.predicts == "ztsnr"}
        return {**THEIRS, **marks, **self.theirs}


LYCORIS = {"network_module": "lycoris.kohya"}
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "lora": ({"network": "lora"}, {}, {}),
    "c3lier": (
        {"network": "locon", "conv_dim": 4, "conv_alpha": 1.0},
        {},
        {"conv_dim": 4, "conv_alpha": 1.0},
    ),
    "loha": ({"network": "loha", "conv_dim": 0}, LYCORIS, {"algo": "loha", "preset": "attn-mlp"}),
    "lokr": ({"network": "lokr", "conv_dim": 0}, LYCORIS, {"algo": "lokr", "preset": "attn-mlp"}),
}
"""Name -> our options, sd-scripts' arguments, arguments of its module."""


def _losses() -> list[Case]:
    found = []
    for network, (ours, theirs, arguments) in NETWORKS.items():
        for predicts in ("epsilon", "v", "ztsnr"):
            for gamma in (0, 5):
                weighed = {"min_snr_gamma": float(gamma)} if gamma else {}
                # Its SNR is that of the schedule before it was changed to end in pure noise.
                mended = "snr" if predicts == "ztsnr" and gamma else ""
                name = f"losses {network} {predicts}{' min-snr' if gamma else ''}"
                own, other = {**ours, "min_snr_gamma": gamma}, {**theirs, **weighed}
                found.append(Case(name, own, other, arguments, predicts, mended=mended))
    return found


RATES = {
    "AdamW": (1e-3, {}),
    "Lion": (1e-4, {}),
    "SGD": (0.1, {"momentum": 0.9, "nesterov": True}),
    "AdaFactor": (1e-3, {"relative_step": False, "scale_parameter": False, "warmup_init": False}),
    "DAdaptAdam": (1.0, {"decouple": True}),
    "DAdaptAdan": (1.0, {}),
    "DAdaptAdanIP": (1.0, {}),
    "DAdaptAdaGrad": (1.0, {}),
    "DAdaptLion": (1.0, {}),
    "DAdaptSGD": (1.0, {}),
    "Prodigy": (1.0, {"decouple": True, "weight_decay": 0.01, "use_bias_correction": True}),
}
"""Optimizer -> rate and arguments."""
NAMES = {"SGD": "SGDNesterov"}


def _optimizers() -> list[Case]:
    """One rate for both parts: several of them take no other."""
    found = []
    for name, (rate, arguments) in RATES.items():
        ours = {"optimizer": name, "learning_rate": rate, "optimizer_args": arguments, "text_encoder_ratio": 1.0}
        given = {key: value for key, value in arguments.items() if name != "SGD" or key == "momentum"}
        theirs = {
            "optimizer_type": NAMES.get(name, name),
            "learning_rate": rate,
            "text_encoder_lr": [rate],
            "unet_lr": rate,
            "optimizer_args": [f"{key}={value}" for key, value in given.items()],
        }
        found.append(Case(f"optimizers {name}", ours, theirs))
    return found


SCHEDULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "constant warmup": ({"scheduler": "constant"}, {"lr_scheduler": "constant_with_warmup"}),
    "linear": ({"scheduler": "linear"}, {"lr_scheduler": "linear"}),
    "cosine": ({"scheduler": "cosine"}, {"lr_scheduler": "cosine"}),
    "restarts": (
        {"scheduler": "cosine_with_restarts", "scheduler_cycles": 3},
        {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3},
    ),
    "polynomial": (
        {"scheduler": "polynomial", "scheduler_power": 2.0},
        {"lr_scheduler": "polynomial", "lr_scheduler_power": 2.0},
    ),
    "inverse_sqrt": ({"scheduler": "inverse_sqrt"}, {"lr_scheduler": "inverse_sqrt"}),
    "min_lr": (
        {"scheduler": "cosine", "scheduler_lowest": 0.1},
        {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1},
    ),
    "wsd": (
        {"scheduler": "wsd", "scheduler_lowest": 0.1, "scheduler_decay": 6},
        {"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": 6, "lr_scheduler_min_lr_ratio": 0.1},
    ),
}


def _schedules() -> list[Case]:
    return [
        Case(f"schedules {name}", {**ours, "warmup": 4}, {**theirs, "lr_warmup_steps": 4})
        for name, (ours, theirs) in SCHEDULES.items()
    ]


COST: dict[str, Any] = {"dim": 16, "alpha": 1.0, "text_encoder_ratio": 0.5}

CASES = (
    *_losses(),
    *_optimizers(),
    *_schedules(),
    Case(
        "losses block rates",
        {"block_lr_weight": ",".join(["1"] + [f"{1 - n / 30:g}" for n in range(25)])},
        {},
        {
            "down_lr_weight": ",".join(f"{1 - n / 30:g}" for n in range(12)),
            "mid_lr_weight": f"{1 - 12 / 30:g}",
            "up_lr_weight": ",".join(f"{1 - n / 30:g}" for n in range(13, 25)),
        },
    ),
    Case("losses weighted", {"weighted_captions": True}, {"weighted_captions": True}, captions=WEIGHTED),
    Case("cost plain", COST, {"network_dim": 16, "network_alpha": 1.0}),
    Case(
        "cost checkpointing",
        {**COST, "memory": "checkpointing"},
        {"network_dim": 16, "network_alpha": 1.0, "gradient_checkpointing": True},
    ),
)

"""PEFT's ``adapter_config.json`` for a file in its form: ranks, alphas and the layers that they are of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from lib_lora.formats.adapters import Adapter

_CLASSES: Mapping[str, tuple[str, str]] = {
    "unet": ("UNet2DConditionModel", "diffusers.models.unets.unet_2d_condition"),
    "te": ("CLIPTextModel", "transformers.models.clip.modeling_clip"),
    "te1": ("CLIPTextModel", "transformers.models.clip.modeling_clip"),
    "te2": ("CLIPTextModelWithProjection", "transformers.models.clip.modeling_clip"),
}
"""By the part of a model with a UNet: its class and where that is, as PEFT notes them."""


def peft_config(adapters: Mapping[str, Adapter], *, part: str, unet: bool) -> str:
    """Return the options' text.

    Args:
        adapters: as PEFT holds them, by dotted path below the model.
        part: which model they are of: "unet", "te1" …
        unet: whether the family has a UNet, whose classes' names are known.
    """
    ranks = {path: adapter.rank for path, adapter in adapters.items()}
    alphas = {path: _short(adapter.alpha) for path, adapter in adapters.items()}
    rank, alpha = (Counter(table.values()).most_common(1)[0][0] for table in (ranks, alphas))
    name, library = _CLASSES.get(part, ("", "")) if unet else ("", "")
    table = {
        "auto_mapping": {"base_model_class": name, "parent_library": library} if name else None,
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_bias": any(adapter.kind == "bias" for adapter in adapters.values()),
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {path: one for path, one in ranks.items() if one != rank},
        "alpha_pattern": {path: one for path, one in alphas.items() if one != alpha},
        "target_modules": list(adapters),
        "task_type": None,
        "use_dora": any("dora_scale" in adapter.tensors() for adapter in adapters.values()),
        "use_rslora": False,
    }
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def _short(alpha: float) -> float:
    return int(alpha) if alpha == int(alpha) else alpha

"""Dotted names of PEFT and diffusers files, turned into kohya's on reading."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.keys import is_module_key

_HEADER_KEY = "lora_adapter_metadata"
_ROOTS = ("unet.", "text_encoder.", "text_encoder_2.", "transformer.", "base_model.model.")
_PARTS = re.compile(
    r"(?P<path>.+?)(?:\.processor)?\."
    r"(?:lora_(?P<ab>[AB])(?:\.default)?\.weight"
    r"|(?:lora_linear_layer|lora)\.(?P<side>up|down)\.weight"
    r"|(?P<proj>to_q|to_k|to_v|to_out)_lora\.(?P<old>up|down)\.weight"
    r"|(?P<alpha>alpha)"
    r"|(?P<dora>lora_magnitude_vector(?:\.default)?(?:\.weight)?|dora_scale))"
)
_SIDES: Mapping[str, str] = {"A": "lora_down.weight", "B": "lora_up.weight"}
_SIDES_BY_WORD: Mapping[str, str] = {"down": "lora_down.weight", "up": "lora_up.weight"}


def kohya_names(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, where: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata in kohya's form; names that are none of a LoRA's stay as they are.

    Alphas come from the header's ``lora_adapter_metadata`` where it has them; that entry is dropped, because the new
    tensors say the same.

    Raises:
        FileError: a dotted name is not understood, or two names mean the same tensor.
    """
    double = any(name.startswith("text_encoder_2.") for name in tensors) or _is_wide(tensors)
    configs = _configs(metadata, where=where)
    renamed: dict[str, Tensor] = {}
    paths: dict[str, str] = {}
    for name, tensor in tensors.items():
        new = _inner_name(name)
        if new is None and name.startswith(_ROOTS):
            path, part = _split(name, where=where)
            key = _key_of(path, double=double)
            paths[key] = path
            new = f"{key}.{part}"
        new = name if new is None else new
        if new in renamed:
            raise FileError("Two tensors mean the same", where=f"{where}, {name}", cure="Get the file again.")
        renamed[new] = tensor
    for key, path in paths.items():
        down = renamed.get(f"{key}.lora_down.weight")
        alpha = _alpha(path, configs, rank=down.shape[0]) if down is not None and down.ndim else None
        if alpha is not None:
            renamed.setdefault(f"{key}.alpha", torch.tensor(alpha, dtype=torch.float32))
    return renamed, {name: value for name, value in metadata.items() if name != _HEADER_KEY or not paths}


def _inner_name(name: str) -> str | None:
    """Return the kohya name of a tensor that has kohya's module name already, with PEFT's words for its parts."""
    if not is_module_key(name):
        return None
    key, _, part = name.partition(".")
    match = re.fullmatch(r"lora_([AB])(?:\.default)?\.weight", part)
    return name if match is None else f"{key}.{_SIDES[match.group(1)]}"


def _split(name: str, *, where: str) -> tuple[str, str]:
    """Return module path and kohya part name of a dotted tensor name."""
    match = _PARTS.fullmatch(name)
    if match is None:
        what = "The file holds changes of an unknown kind"
        raise FileError(what, where=f"{where}, {name}", cure="Use a LoRA file in kohya's or diffusers' form.")
    path = match["path"]
    if match["ab"]:
        return path, _SIDES[match["ab"]]
    if match["side"]:
        return path, _SIDES_BY_WORD[match["side"]]
    if match["old"]:
        leaf = "to_out.0" if match["proj"] == "to_out" else match["proj"]
        return f"{path}.{leaf}", _SIDES_BY_WORD[match["old"]]
    return path, "alpha" if match["alpha"] else "dora_scale"


def _key_of(path: str, *, double: bool) -> str:
    """Return kohya's module name of a dotted path; ``double`` tells that the model has two text encoders."""
    if path.startswith("base_model.model."):
        inner = path.removeprefix("base_model.model.")
        path = f"text_encoder.{inner}" if inner.startswith("text_model.") else f"unet.{inner.removeprefix('unet.')}"
    root, _, inner = path.partition(".")
    first = "lora_te1_" if double else "lora_te_"
    prefix = {"unet": "lora_unet_", "text_encoder": first, "text_encoder_2": "lora_te2_"}.get(root, f"lora_{root}_")
    return prefix + inner.replace(".", "_")


def _is_wide(tensors: Mapping[str, Tensor]) -> bool:
    """Whether some cross-attention reads SDXL's 2048 numbers."""
    return any(
        ".attn2." in name and "to_k" in name and tensor.ndim > 1 and tensor.shape[1] == 2048
        for name, tensor in tensors.items()
    )


def _configs(metadata: Mapping[str, str], *, where: str) -> dict[str, object]:
    """Return the flat table of PEFT options in the header, with the component's name in front of each."""
    text = metadata.get(_HEADER_KEY)
    if text is None:
        return {}
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError("The LoRA's options in the header are broken", where=where, cure="Get it again.") from error
    return table if isinstance(table, dict) else {}


def _alpha(path: str, configs: Mapping[str, object], *, rank: int) -> float | None:
    """Return PEFT's alpha of a module; with ``use_rslora`` the scale is alpha/√rank (Kalajdzievski 2023)."""
    root, _, inner = path.removeprefix("base_model.model.").partition(".")
    for prefix, module in ((f"{root}.", inner), ("", path)):
        alpha = configs.get(f"{prefix}lora_alpha")
        pattern = configs.get(f"{prefix}alpha_pattern")
        if isinstance(pattern, dict):
            alpha = next((v for k, v in pattern.items() if f".{module}".endswith(f".{k}")), alpha)
        if isinstance(alpha, int | float):
            return float(alpha) * math.sqrt(rank) if configs.get(f"{prefix}use_rslora") is True else float(alpha)
    return None

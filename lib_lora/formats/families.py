"""Which family of models a LoRA was made for, by tensor names and shapes, never by what its metadata claims."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from lib_lora.formats.keys import find_module

_CROSS_WIDTHS: Mapping[int, str] = MappingProxyType(
    {768: "sd1", 128: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "unknown"}
)
"""Inputs of attn2.to_k by family: 128 is the pocket model in SD1's layout, 1280 SDXL's refiner."""


_UP_LEVEL = re.compile(
    r"(?:lora_unet|lycoris)_up_blocks_([12])_(?:resnets|attentions)_\d_"
    r"(?:conv1|conv2|conv_shortcut|time_emb_proj|proj_in|proj_out)\.lora_up\.weight$"
)
_UP_CHANNELS: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {"1": {1280: "sd1", 640: "sdxl"}, "2": {640: "sd1", 320: "sdxl"}}
)
"""By level of the way up, the channels that its layers give, where the two families differ."""


def family_of(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return "sd1", "sd2", "sdxl", "flux", "sd3" or "unknown" from tensor names and shapes, never from metadata."""
    names = " ".join(shapes)
    if re.search(r"(double|single)_blocks_|single_transformer_blocks", names):
        return "flux"
    if re.search(r"joint_blocks|lora_transformer_", names):
        return "sd3"
    for name, width in _input_widths(shapes):  # first: some programs call SD1's only text encoder te1
        if "attn2_to_k" in name or "attn2_to_v" in name:
            if width in _CROSS_WIDTHS:
                return _CROSS_WIDTHS[width]
            break
    if "lora_te2_" in names or "lora_te1_" in names:
        return "sdxl"
    return _family_by_names(names, shapes)


def _family_by_names(names: str, shapes: Mapping[str, Sequence[int]]) -> str:
    """Return the family of a file whose cross-attention says nothing, by depth, levels and the text encoder."""
    if re.search(r"transformer_blocks_[1-9]", names):
        return "sdxl"
    if re.search(r"layers_(1[2-9]|2\d)_", names):
        return "sd2"
    unet = _unet_by_names(shapes)
    if unet == "sdxl":
        return unet
    for name, width in _input_widths(shapes):
        if name.startswith("lora_te_") and re.search(r"_[qkv]_proj$|_fc1$", name):
            return "sd2" if width == 1024 else "sd1"
    if unet is not None:
        return unet
    return "sd1" if re.search(r"lora_te_|lora_unet_|lycoris_(down|mid|up)_", names) else "unknown"


def _unet_by_names(shapes: Mapping[str, Sequence[int]]) -> str | None:
    """Return "sd1" or "sdxl" by the places that only one of the two UNets has, or None where neither has any.

    Where every place is in both, the channels of a level tell, and last the spelling: SDXL's own trainers write LDM
    names, SD1's diffusers'.
    """
    keys = dict.fromkeys(name.partition(".")[0].replace("lycoris_", "lora_unet_", 1) for name in shapes)
    unet = [key for key in keys if key.startswith("lora_unet_")]
    sd1, sdxl = ({key for key in unet if find_module(key, family) is not None} for family in ("sd1", "sdxl"))
    if len(sd1) != len(sdxl):
        return "sd1" if len(sd1) > len(sdxl) else "sdxl"
    for name, shape in shapes.items():
        level = _UP_LEVEL.match(name)
        if level is not None and shape and shape[0] in _UP_CHANNELS[level[1]]:
            return _UP_CHANNELS[level[1]][shape[0]]
    spelled = " ".join(unet)
    if re.search(r"(in|out)put_blocks_\d|middle_block_", spelled):
        return "sd1" if re.search(r"(in|out)put_blocks_(9|1[01])_", spelled) else "sdxl"
    return None


def _input_widths(shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, int]]:
    """Yield (module name, inputs of its layer) for every module whose parts tell it."""
    for name, shape in shapes.items():
        key, _, part = name.partition(".")
        if part in ("lora_down.weight", "hada_w1_b", "diff", "b2.weight", "q_layer.weight") and len(shape) > 1:
            yield key, shape[1]
        elif part in ("lokr_w1", "lokr_w1_b") and len(shape) > 1:
            other = next((shapes[f"{key}.{w}"] for w in ("lokr_w2", "lokr_w2_b") if f"{key}.{w}" in shapes), ())
            if len(other) > 1:
                yield key, shape[1] * other[1]

"""What SD1, SD2 and SDXL have in common: blocks by resolution level, and how a LoRA of one is told from the others.

With LDM names ``input_blocks.n`` is IN(n) and ``output_blocks.n`` is OUT(n); with diffusers names level i, module j is
IN(1+3i+j) or OUT(3i+j), a downsampler IN(3+3i), an upsampler OUT(3i+2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from lib_lora.architectures.base import (
    BASE,
    OTHER,
    UNKNOWN,
    Architecture,
    BlockPrefixes,
    Layout,
    Shapes,
    frozen,
    numbered,
)
from lib_lora.architectures.unet import Unet

BETAS = (0.00085, 0.012)
"""First and last β of Stable Diffusion's scaled-linear noise schedule."""
REFINER_WIDTH = 1280
"""Width of the text that SDXL's refiner reads; by a host's flags it is an SDXL model, and it is none of ours."""

_UP_LEVEL = re.compile(
    r"(?:lora_unet|lycoris)_up_blocks_(\d)_(?:resnets|attentions)_\d_"
    r"(?:conv1|conv2|conv_shortcut|time_emb_proj|proj_in|proj_out)\.lora_up\.weight$"
)
_LDM = re.compile(r"(?:(?:in|out)put_blocks_(\d+)|middle_block)_")
_UNET_WORD = re.compile(
    r"(?:lora_unet|lycoris)_(?:(?:down|mid|up|input|middle|output)_blocks?_|conv_in|conv_out|time_emb|add_emb|label_emb"
    r"|out_\d)"
)

_CLIP = re.compile(r"lora_te_(?!(?:model_)?layers_)")
"""Text encoders of language models, such as Qwen's, have their layers at once behind the prefix."""

_TRANSFORMER = re.compile(r"lora_(?:unet|transformer)_(?:single_)?transformer_blocks_")
"""Blocks of a model that is no UNet, in diffusers' names; a UNet has them inside of its own."""


def layouts_of(family: str, unet: Unet) -> tuple[Layout, Layout]:
    """Return the layout with every block, and the one of the blocks with attention, where a standard LoRA is."""
    count = 3 * unet.levels
    every = (BASE, *numbered("IN", *range(count)), "M00", *numbered("OUT", *range(count)))
    down = [1 + 3 * i + j for i, depth in enumerate(unet.depths) if depth for j in range(2)]
    up = [3 * i + j for i, depth in enumerate(reversed(unet.depths)) if depth for j in range(3)]
    some = (BASE, *numbered("IN", *down), "M00", *numbered("OUT", *up))
    return Layout(len(every), family, every), Layout(len(some), family, some)


def blocks_of(unet: Unet) -> Mapping[str, BlockPrefixes]:
    """Return the module paths of every block, of BASE and of `other`."""
    return frozen(dict(_prefixes(unet)))


def _prefixes(unet: Unet) -> Iterator[tuple[str, BlockPrefixes]]:
    paths: dict[str, list[str]] = {"IN00": ["conv_in"]}
    places = [("IN", "down", i, j, 1 + 3 * i + j, unet.depths[i]) for i in range(unet.levels) for j in range(2)]
    places += [("OUT", "up", i, j, 3 * i + j, unet.depths[-1 - i]) for i in range(unet.levels) for j in range(3)]
    for kind, side, i, j, number, depth in places:
        parts = ("resnets", "attentions") if depth else ("resnets",)
        paths[f"{kind}{number:02d}"] = [f"{side}_blocks.{i}.{part}.{j}" for part in parts]
    for i in range(unet.levels - 1):  # the last level neither shrinks nor grows
        paths[f"IN{3 + 3 * i:02d}"] = [f"down_blocks.{i}.downsamplers.0"]
        paths[f"OUT{3 * i + 2:02d}"].append(f"up_blocks.{i}.upsamplers.0")
    for block, diffusers in paths.items():
        side = "input" if block.startswith("IN") else "output"
        yield block, BlockPrefixes((f"{side}_blocks.{int(block[-2:])}",), tuple(diffusers))
    yield "M00", BlockPrefixes(("middle_block",), ("mid_block",))
    yield BASE, BlockPrefixes(())
    outside = ("time_embedding", "add_embedding", "conv_norm_out", "conv_out")
    yield OTHER, BlockPrefixes(("time_embed", "label_emb", "out"), outside)


def detect(shapes: Shapes, group: Sequence[Architecture]) -> str | None:
    """Return which of the families with a UNet a LoRA was made for, from names and shapes, never from metadata."""
    if any(map(_TRANSFORMER.match, shapes)):
        return None
    names = " ".join(shapes)
    widths = {width: one.name for one in group for width in one.required_unet.cross_widths} | {REFINER_WIDTH: UNKNOWN}
    for name, width in input_widths(shapes):  # first: some programs call SD1's only text encoder te1
        if "attn2_to_k" in name or "attn2_to_v" in name:
            if width in widths:
                return widths[width]
            break
    if "lora_te2_" in names or "lora_te1_" in names:
        return next(one.name for one in group if one.pooled)
    return _by_names(names, shapes, group)


def _by_names(names: str, shapes: Shapes, group: Sequence[Architecture]) -> str | None:
    """Return the family of a file whose cross-attention says nothing, by depth, levels and the text encoder."""
    alone = [one for one in group if not one.pooled]
    deepest = max(group, key=lambda one: max(one.required_unet.depths))
    if re.search(r"transformer_blocks_[1-9]", names):
        return deepest.name
    layers = [int(found) for found in re.findall(r"encoder_layers_(\d+)_", names)]
    longest = max(alone, key=lambda one: one.text_encoders[0].layers)
    if layers and max(layers) >= min(one.text_encoders[0].layers for one in alone):
        return longest.name
    unet = _by_places(shapes, group)
    if unet == deepest.name:
        return unet
    for name, width in input_widths(shapes):
        if _CLIP.match(name) and re.search(r"_[qkv]_proj$|_fc1$", name):
            return next((one.name for one in alone if one.text_encoders[0].width == width), alone[0].name)
    if unet is not None:
        return unet
    if any(_UNET_WORD.match(name) for name in shapes) or any(map(_CLIP.match, shapes)):
        return alone[0].name
    return None


def _by_places(shapes: Shapes, group: Sequence[Architecture]) -> str | None:
    """Return the family by the places that only its UNet has, or None where no UNet has any of them alone.

    Where every place is in both, the channels of a level tell, and last the spelling: SDXL's own trainers write LDM
    names, SD1's diffusers'.
    """
    distinct = list({one.required_unet.depths: one for one in reversed(group)}.values())[::-1]
    keys = dict.fromkeys(name.partition(".")[0].replace("lycoris_", "lora_unet_", 1) for name in shapes)
    unet = [key for key in keys if key.startswith("lora_unet_")]
    counts = {one.name: sum(one.find(key) is not None for key in unet) for one in distinct}
    if len(set(counts.values())) > 1:
        return max(counts, key=lambda name: counts[name])
    for name, shape in shapes.items():
        level = _UP_LEVEL.match(name)
        if level is not None and shape:
            fits = [one.name for one in distinct if one.required_unet.out_channels(int(level[1])) == shape[0]]
            if len(fits) == 1:
                return fits[0]
    numbers = [int(found or 0) for found in _LDM.findall(" ".join(unet))]
    if numbers:
        deep = [one for one in distinct if max(numbers) < 3 * one.required_unet.levels]
        return next((one.name for one in deep if one.required_unet.ldm_keys), distinct[0].name)
    return None


def input_widths(shapes: Shapes) -> Iterator[tuple[str, int]]:
    """Yield (module name, inputs of its layer) for every module whose parts tell it."""
    for name, shape in shapes.items():
        key, _, part = name.partition(".")
        if part in ("lora_down.weight", "hada_w1_b", "diff", "b2.weight", "q_layer.weight") and len(shape) > 1:
            yield key, shape[1]
        elif part in ("lokr_w1", "lokr_w1_b") and len(shape) > 1:
            other = next((shapes[f"{key}.{w}"] for w in ("lokr_w2", "lokr_w2_b") if f"{key}.{w}" in shapes), ())
            if len(other) > 1:
                yield key, shape[1] * other[1]

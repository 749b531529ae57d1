"""Which modules a complete LoRA file of a family with a UNet has, in kohya's, diffusers' and LDM's spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from lib_lora.architectures.unet import OUTSIDE

if TYPE_CHECKING:
    from lib_lora.architectures.base import Architecture, TextEncoder

UNET_PREFIX = "lora_unet_"

_TEXT_LEAVES = (*(f"self_attn.{leaf}_proj" for leaf in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
_OPEN_CLIP: Mapping[str, tuple[str, int | None]] = MappingProxyType(
    {
        "self_attn.q_proj": ("attn.in_proj_weight", 0),
        "self_attn.k_proj": ("attn.in_proj_weight", 1),
        "self_attn.v_proj": ("attn.in_proj_weight", 2),
        "self_attn.out_proj": ("attn.out_proj.weight", None),
        "mlp.fc1": ("mlp.c_fc.weight", None),
        "mlp.fc2": ("mlp.c_proj.weight", None),
    }
)
_TEXT_PATH = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(\w+\.\w+)")


@dataclass(frozen=True)
class ModuleName:
    """One module in all spellings.

    Args:
        key: kohya's module name.
        part: "unet", or the text encoder's: "te" (SD1, SD2), "te1" or "te2" (SDXL).
        block: its block's name.
        diffusers: dotted path below the UNet or the text encoder.
        ldm: dotted path below ``model.diffusion_model``; of text modules the tensor's name in a checkpoint.
    """

    key: str
    part: str
    block: str
    diffusers: str
    ldm: str


@dataclass(frozen=True)
class TextTarget:
    """A text encoder's weight in an LDM checkpoint; ``third`` tells the rows 0 (q), 1 (k), 2 (v) of a fused one."""

    weight: str
    third: int | None


def text_target(encoder: TextEncoder, path: str) -> TextTarget | None:
    """Return where a checkpoint keeps a weight of an encoder; None: the encoder has no such module.

    ``path`` is transformers' dotted path (``text_model.encoder.layers.0.mlp.fc1``).
    """
    match = _TEXT_PATH.fullmatch(path)
    if match is None or match.group(2) not in _TEXT_LEAVES:
        return None
    return _text_target(encoder, match.group(1), match.group(2))


def _text_target(encoder: TextEncoder, layer: int | str, leaf: str) -> TextTarget:
    if not encoder.open_clip:
        return TextTarget(f"{encoder.root}{_text_path(layer, leaf)}.weight", None)
    fused, third = _OPEN_CLIP[leaf]
    return TextTarget(f"{encoder.root}transformer.resblocks.{layer}.{fused}", third)


def _text_path(layer: int | str, leaf: str) -> str:
    return f"text_model.encoder.layers.{layer}.{leaf}"


def unet_modules(family: Architecture, *, conv: bool) -> Iterator[ModuleName]:
    """Yield a UNet's attention and feed-forward modules, with ``conv`` those of its ResNets and samplers, too."""
    unet = family.required_unet
    for container in unet.containers():
        for leaf in unet.leaves(container, conv=conv):
            yield _unet_module(family, f"{container.diffusers}.{leaf}" if leaf else container.diffusers)


def norm_modules(family: Architecture) -> Iterator[ModuleName]:
    """Yield the normalizations of a UNet, which files of some kinds change."""
    unet = family.required_unet
    for container in unet.containers():
        for leaf in unet.norms(container):
            yield _unet_module(family, f"{container.diffusers}.{leaf}")


def text_modules(family: Architecture) -> Iterator[ModuleName]:
    """Yield the modules of all text encoders."""
    for encoder in family.text_encoders:
        for layer in range(encoder.layers):
            for leaf in _TEXT_LEAVES:
                path = _text_path(layer, leaf)
                key = encoder.prefix + path.replace(".", "_")
                yield ModuleName(key, encoder.part, encoder.block, path, _text_target(encoder, layer, leaf).weight)


def projection_modules(family: Architecture) -> Iterator[ModuleName]:
    """Yield the layer behind the text encoder whose pooled output the UNet reads, which diffusers' files train."""
    if family.pooled:
        encoder, path = family.text_encoders[-1], "text_projection"
        yield ModuleName(encoder.prefix + path, encoder.part, encoder.block, path, encoder.root + path)


def by_key(family: Architecture) -> Mapping[str, ModuleName]:
    """Return every module that a LoRA file may name, by each spelling of its key."""
    table: dict[str, ModuleName] = {}
    outside = [_unet_module(family, container.diffusers) for container in OUTSIDE]
    standard = [*unet_modules(family, conv=True), *text_modules(family)]
    for module in [*outside, *standard, *projection_modules(family), *norm_modules(family)]:
        table[module.key] = module
        if module.part == "unet":
            table[UNET_PREFIX + module.diffusers.replace(".", "_")] = module
            table[UNET_PREFIX + module.ldm.replace(".", "_")] = module
    return MappingProxyType(table)


def _unet_module(family: Architecture, path: str) -> ModuleName:
    unet = family.required_unet
    ldm = unet.to_ldm(path)
    if ldm is None:
        raise LookupError(f"{path} is no path of a UNet")
    key = UNET_PREFIX + (ldm if unet.ldm_keys else path).replace(".", "_")
    return ModuleName(key, "unet", family.block_of_path(path), path, ldm)

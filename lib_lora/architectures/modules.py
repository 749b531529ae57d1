"""Which modules a complete LoRA file of a family with a UNet has, in kohya's, diffusers' and LDM's spelling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from lib_lora.architectures.unet import OUTSIDE

if TYPE_CHECKING:
    from lib_lora.architectures.base import Architecture

UNET_PREFIX = "lora_unet_"

_TEXT_LEAVES = (*(f"self_attn.{leaf}_proj" for leaf in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
_OPEN_CLIP: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_TEXT_LEAVES[:3], "attn.in_proj_weight"),
        "self_attn.out_proj": "attn.out_proj.weight",
        "mlp.fc1": "mlp.c_fc.weight",
        "mlp.fc2": "mlp.c_proj.weight",
    }
)


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
                path = f"text_model.encoder.layers.{layer}.{leaf}"
                key = encoder.prefix + path.replace(".", "_")
                own = f"transformer.resblocks.{layer}.{_OPEN_CLIP[leaf]}" if encoder.open_clip else f"{path}.weight"
                yield ModuleName(key, encoder.part, encoder.block, path, encoder.root + own)


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

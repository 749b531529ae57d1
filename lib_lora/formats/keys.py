"""Key names: which layer of the model a LoRA's module changes, in kohya, diffusers and LDM spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from lib_lora.blocks.layouts import BASE, OTHER, block_of_path
from lib_lora.errors import InputError

__all__ = [
    "ModuleName",
    "TextTarget",
    "block_of_key",
    "find_module",
    "is_3x3_key",
    "is_module_key",
    "module_table",
    "text_to_ldm",
    "to_diffusers",
    "to_ldm",
]

UNET_PREFIX = "lora_unet_"

_KOHYA = re.compile(r"(lora_(?:unet|te\d?|transformer|prior(?:_unet|_te)?|llm_adapter)|lycoris|oft_(?:unet|te\d?))_")
_TEXT = re.compile(r"(?:lora|oft)_te(\d?)_")
_3X3 = re.compile(
    r"_(?:conv1|conv2|in_layers_2|out_layers_3|(?:down|up)samplers_0_conv|op|\d_conv|conv_in|conv_out"
    r"|input_blocks_0_0|unet_out_2)$"
)
_LAYOUT_FAMILIES = frozenset({"sd1", "sd2", "sdxl", "flux"})


@dataclass(frozen=True)
class ModuleName:
    """One module in all spellings.

    Args:
        key: kohya's module name.
        part: "unet", "te" (SD1, SD2), "te1" or "te2" (SDXL).
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


@dataclass(frozen=True)
class _Unet:
    """What tells the UNets of the families apart, level by level from fine to coarse."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    text_layers: tuple[int, ...]


@dataclass(frozen=True)
class _Container:
    """A ResNet, attention block or plain layer of a UNet in both spellings."""

    diffusers: str
    ldm: str
    kind: str
    depth: int = 0
    shortcut: bool = False


_UNETS: Mapping[str, _Unet] = MappingProxyType(
    {
        "sd1": _Unet(depths=(1, 1, 1, 0), channels=(1, 2, 4, 4), text_layers=(12,)),
        "sd2": _Unet(depths=(1, 1, 1, 0), channels=(1, 2, 4, 4), text_layers=(23,)),
        "sdxl": _Unet(depths=(0, 2, 10), channels=(1, 2, 4), text_layers=(12, 32)),
    }
)

FAMILIES = tuple(_UNETS)
"""The families whose module names are known in every spelling."""

_OUTSIDE = (
    _Container("time_embedding.linear_1", "time_embed.0", "outside"),
    _Container("time_embedding.linear_2", "time_embed.2", "outside"),
    _Container("add_embedding.linear_1", "label_emb.0.0", "outside"),
    _Container("add_embedding.linear_2", "label_emb.0.2", "outside"),
    _Container("conv_in", "input_blocks.0.0", "outside"),
    _Container("conv_norm_out", "out.0", "outside"),
    _Container("conv_out", "out.2", "outside"),
)

_RESNET: Mapping[str, str] = MappingProxyType(
    {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
)
_RESNET_BACK: Mapping[str, str] = MappingProxyType({ldm: name for name, ldm in _RESNET.items()})

_TRANSFORMER = tuple(f"{attn}.to_{leaf}" for attn in ("attn1", "attn2") for leaf in ("q", "k", "v", "out.0"))
_TRANSFORMER_LEAVES = (*_TRANSFORMER, "ff.net.0.proj", "ff.net.2")
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


def is_module_key(name: str) -> bool:
    """Whether a tensor's or module's name starts as the names of LoRA trainers do."""
    return _KOHYA.match(name) is not None


def is_3x3_key(key: str) -> bool:
    """Whether a kohya module name means a 3×3 convolution, for kinds of adapters that do not store the kernel."""
    return _3X3.search(key) is not None


def block_of_key(key: str, family: str) -> str:
    """Return the block of a kohya module name; text encoders are BASE (in Flux CLIP or T5), strangers ``other``."""
    text = _TEXT.match(key)
    if text is not None:
        if family == "flux":
            return "T5" if text.group(1) in ("2", "3") else "CLIP"
        return BASE
    prefix = _KOHYA.match(key)
    if prefix is None or family not in _LAYOUT_FAMILIES:
        return OTHER
    return block_of_path(key[prefix.end() :], family)


def _unet(family: str) -> _Unet:
    if family not in _UNETS:
        raise InputError(f"There are no key names for models of the family {family}", cure="Use SD1, SD2 or SDXL.")
    return _UNETS[family]


def _containers(family: str) -> Iterator[_Container]:
    """Yield the parts of a family's UNet from in to out."""
    unet = _unet(family)
    levels = len(unet.depths)
    yield from _OUTSIDE
    for i in range(levels):
        for j in range(2):
            ldm = f"input_blocks.{1 + 3 * i + j}"
            widens = j == 0 and i > 0 and unet.channels[i] != unet.channels[i - 1]
            yield _Container(f"down_blocks.{i}.resnets.{j}", f"{ldm}.0", "resnet", shortcut=widens)
            if unet.depths[i]:
                yield _Container(f"down_blocks.{i}.attentions.{j}", f"{ldm}.1", "attention", depth=unet.depths[i])
        if i < levels - 1:
            yield _Container(f"down_blocks.{i}.downsamplers.0.conv", f"input_blocks.{3 + 3 * i}.0.op", "conv")
    yield _Container("mid_block.resnets.0", "middle_block.0", "resnet")
    yield _Container("mid_block.attentions.0", "middle_block.1", "attention", depth=max(unet.depths[-2:]))
    yield _Container("mid_block.resnets.1", "middle_block.2", "resnet")
    for i, depth in enumerate(reversed(unet.depths)):
        for j in range(3):
            ldm = f"output_blocks.{3 * i + j}"
            yield _Container(f"up_blocks.{i}.resnets.{j}", f"{ldm}.0", "resnet", shortcut=True)
            if depth:
                yield _Container(f"up_blocks.{i}.attentions.{j}", f"{ldm}.1", "attention", depth=depth)
        if i < levels - 1:
            place = 2 if depth else 1  # behind the attention, where there is one
            yield _Container(f"up_blocks.{i}.upsamplers.0.conv", f"output_blocks.{3 * i + 2}.{place}.conv", "conv")


@cache
def _by_spelling(family: str) -> tuple[Mapping[str, _Container], Mapping[str, _Container]]:
    """Return a family's containers by diffusers path and by LDM path."""
    found = list(_containers(family))
    by_diffusers = {container.diffusers: container for container in found}
    return MappingProxyType(by_diffusers), MappingProxyType({container.ldm: container for container in found})


def to_ldm(path: str, family: str) -> str:
    """Return the LDM spelling of a dotted UNet path in diffusers spelling; a tail such as ``.weight`` stays.

    Raises:
        InputError: no UNet of the family has this path.
    """
    container, tail = _split(path, _by_spelling(family)[0], family)
    leaf = _translated(tail, _RESNET, path, family) if container.kind == "resnet" else tail
    return f"{container.ldm}.{leaf}" if leaf else container.ldm


def to_diffusers(path: str, family: str) -> str:
    """Return the diffusers spelling of a dotted UNet path in LDM spelling: the inverse of ``to_ldm``.

    Raises:
        InputError: no UNet of the family has this path.
    """
    container, tail = _split(path, _by_spelling(family)[1], family)
    leaf = _translated(tail, _RESNET_BACK, path, family) if container.kind == "resnet" else tail
    return f"{container.diffusers}.{leaf}" if leaf else container.diffusers


def _split(path: str, table: Mapping[str, _Container], family: str) -> tuple[_Container, str]:
    """Return the container that a path starts with, and the rest of the path."""
    steps = path.split(".")
    for count in range(min(len(steps), 5), 0, -1):
        container = table.get(".".join(steps[:count]))
        if container is not None:
            return container, ".".join(steps[count:])
    raise _no_path(path, family)


def _translated(tail: str, table: Mapping[str, str], path: str, family: str) -> str:
    """Return a ResNet's leaf in the other spelling, with what follows it."""
    if not tail:
        return ""
    steps = tail.split(".")
    for count in (2, 1):
        leaf = table.get(".".join(steps[:count]))
        if leaf is not None:
            return ".".join([leaf, *steps[count:]])
    raise _no_path(path, family)


def _no_path(path: str, family: str) -> InputError:
    return InputError(f"A UNet of the family {family} has no such module", where=path, cure="Choose another model.")


def text_to_ldm(path: str, family: str, *, encoder: int = 1) -> TextTarget:
    """Return where a checkpoint keeps a text encoder's weight.

    ``path`` is transformers' dotted path (``text_model.encoder.layers.0.mlp.fc1``), ``encoder`` 1 or SDXL's 2.
    SD2 and SDXL's second encoder are OpenCLIP, with q, k and v in one weight.

    Raises:
        InputError: the family has no such text module.
    """
    count = len(_unet(family).text_layers)
    match = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(\w+\.\w+)", path)
    if not 1 <= encoder <= count or (match is not None and match.group(2) not in _TEXT_LEAVES):
        match = None
    if match is None:
        raise InputError(f"A text encoder of {family} has no such module", where=path, cure="Choose another model.")
    root = f"conditioner.embedders.{encoder - 1}" if family == "sdxl" else "cond_stage_model"
    if family == "sd1" or (family == "sdxl" and encoder == 1):
        return TextTarget(f"{root}.transformer.{path}.weight", None)
    leaf, third = _OPEN_CLIP[match.group(2)]
    return TextTarget(f"{root}.model.transformer.resblocks.{match.group(1)}.{leaf}", third)


def module_table(family: str, conv: bool = False) -> list[ModuleName]:
    """Return the modules of a complete LoRA file of a family: attention and feed-forward, with ``conv`` ResNets too.

    SDXL's UNet keys use LDM names, as its trainers write them; ``find_module`` knows both spellings.
    """
    return [*_unet_modules(family, conv=conv), *_text_modules(family)]


def _unet_modules(family: str, *, conv: bool) -> Iterator[ModuleName]:
    for container in _containers(family):
        for leaf in _leaves(container, conv=conv):
            path = f"{container.diffusers}.{leaf}" if leaf else container.diffusers
            yield _module(path, to_ldm(path, family), family)


def _module(path: str, ldm: str, family: str) -> ModuleName:
    key = UNET_PREFIX + (ldm if family == "sdxl" else path).replace(".", "_")
    return ModuleName(key, "unet", block_of_path(path, family), path, ldm)


def _leaves(container: _Container, *, conv: bool) -> tuple[str, ...]:
    """Return the Linear and convolution layers of a container that trainers give modules."""
    if container.kind == "attention":
        inner = [f"transformer_blocks.{k}.{leaf}" for k in range(container.depth) for leaf in _TRANSFORMER_LEAVES]
        return ("proj_in", *inner, "proj_out")
    if container.kind == "resnet" and conv:
        return ("conv1", "conv2", "time_emb_proj", *(("conv_shortcut",) if container.shortcut else ()))
    return ("",) if container.kind == "conv" and conv else ()


def _norms(family: str) -> Iterator[ModuleName]:
    """Yield the normalizations of a UNet, which files of some kinds change."""
    for container in _containers(family):
        leaves: list[str] = []
        if container.kind == "resnet":
            leaves = ["norm1", "norm2"]
        elif container.kind == "attention":
            inner = [f"transformer_blocks.{k}.norm{n}" for k in range(container.depth) for n in (1, 2, 3)]
            leaves = ["norm", *inner]
        for leaf in leaves:
            path = f"{container.diffusers}.{leaf}"
            yield _module(path, to_ldm(path, family), family)


def _text_modules(family: str) -> Iterator[ModuleName]:
    counts = _unet(family).text_layers
    for encoder, layers in enumerate(counts, start=1):
        part = "te" if len(counts) == 1 else f"te{encoder}"
        for layer in range(layers):
            for leaf in _TEXT_LEAVES:
                path = f"text_model.encoder.layers.{layer}.{leaf}"
                ldm = text_to_ldm(path, family, encoder=encoder).weight
                yield ModuleName(f"lora_{part}_{path.replace('.', '_')}", part, BASE, path, ldm)


@cache
def _by_key(family: str) -> Mapping[str, ModuleName]:
    """Return every module that a LoRA file may name, by each spelling of its key."""
    table: dict[str, ModuleName] = {}
    outside = [_module(c.diffusers, c.ldm, family) for c in _OUTSIDE]
    for module in [*outside, *module_table(family, conv=True), *_norms(family)]:
        table[module.key] = module
        if module.part == "unet":
            table[UNET_PREFIX + module.diffusers.replace(".", "_")] = module
            table[UNET_PREFIX + module.ldm.replace(".", "_")] = module
    return MappingProxyType(table)


def find_module(key: str, family: str) -> ModuleName | None:
    """Return all names of the module that a kohya key in either spelling means, or None."""
    return _by_key(family).get(key)

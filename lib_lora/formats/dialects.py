"""How programs spell the tensors of a LoRA file, turned into kohya's names: ``prefix_path_of_module.part``.

Dotted names come from PEFT, diffusers, ComfyUI, OneTrainer and plain checkpoints; underscored ones from kohya, LyCORIS
and whoever left ``text_model`` out. Only names are looked at, and shapes where a name says too little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from lib_lora.architectures.base import Architecture
from lib_lora.architectures.modules import UNET_PREFIX
from lib_lora.architectures.registry import architectures, find_architecture
from lib_lora.formats.adapters.registry import KINDS
from lib_lora.formats.families import family_of
from lib_lora.formats.keys import is_module_key

_WRAPPERS = ("base_model.model.", "_orig_mod.", "module.")
"""What PEFT, a compiled and a distributed model put in front."""

_UNET_ROOTS = ("model.diffusion_model", "diffusion_model", "unet", "lora_unet", "net")
_TEXT_ROOTS: Mapping[str, str] = MappingProxyType(
    {
        "text_encoder": "",
        "text_encoder_1": "",
        "text_encoder_2": "2",
        "text_encoder_3": "3",
        "te": "",
        "te1": "",
        "te2": "2",
        "te3": "3",
        "lora_te": "",
        "lora_te1": "",
        "lora_te2": "2",
        "cond_stage_model": "",
        "conditioner.embedders.0": "",
        "conditioner.embedders.1": "2",
    }
)
"""Roots of text encoders by the number that kohya has for them; `_text_roots` adds each family's own."""
_UNET_STARTS = (
    r"(?:down|up|mid|input|output|middle)_blocks?|conv_in|conv_out|conv_norm_out|time_embed(?:ding)?|add_embedding"
    r"|label_emb|out[._]\d|(?:double|single|joint)_blocks|transformer_blocks|single_transformer_blocks"
)
_BARE_TEXT = re.compile(
    r"text_model[._]|encoder[._]layers[._]|text_projection(?:[._]|$)|(?:transformer[._])?resblocks[._]"
)

MAGNITUDE = "lora_magnitude_vector"
"""PEFT's name of a DoRA's lengths, one for each output."""

_PART = (
    r"(?P<path>.+?)(?:\.processor)?[.]"
    r"(?:lora_(?P<ab>[AB])(?:\.(?!weight|bias)[^.]+)*(?:\.weight)?"
    r"|(?:lora_linear_layer|lora)\.(?P<side>up|down)(?:\.weight)?"
    r"|(?P<proj>to_q|to_k|to_v|to_out)_lora\.(?P<old>up|down)\.weight"
    r"|(?P<magnitude>lora_magnitude_vector(?:\.(?!weight)[^.]+)*(?:\.weight)?)"
    r"|(?P<bias>lora_B(?:\.(?!weight|bias)[^.]+)*\.bias)"
    r"|oft_R(?:\.(?!weight)[^.]+)*(?P<rotation>\.weight)"
    r"|(?P<named>ia3_l|boft_[Rs])(?:\.[^.]+)?"
    r"|(?P<kohya>alpha|%s))"
)
"""The end of a dotted name, with room for the names that kinds of adapters have."""
_SIDES: Mapping[str, str] = MappingProxyType({"A": "down", "B": "up"})
_LORA_LIKE = re.compile(
    r"lora_(?:up|down|mid|[AB])\b|lora_[AB]|[._]lora\.|_lora\.|lora_linear_layer|hada_[wt]|lokr_[wt]|dora_scale"
    r"|lora_magnitude_vector|oft_(?:blocks|diag|[Rs]\b)|\.set_weight|[._]lora\d*\."
)

_TEXT_KEY = re.compile(r"lora_te(\d?)_(.+)")
_OLD_TEXT: Mapping[str, str] = MappingProxyType(
    {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
)
_OPEN_CLIP: Mapping[str, str] = MappingProxyType(
    {"attn_out_proj": "self_attn_out_proj", "mlp_c_fc": "mlp_fc1", "mlp_c_proj": "mlp_fc2"}
)


@dataclass(frozen=True)
class Spelled:
    """A tensor's name taken apart.

    Attributes:
        root: "unet", "te", "te1", "te2", … or another program's own word; "te" is the first or only text encoder.
        path: the module's below it, with dots or underscores.
        part: kohya's name of the tensor.
        dotted: the whole path that a dotted name has, as PEFT's options name it; "" where the name has underscores.
    """

    root: str
    path: str
    part: str
    dotted: str = ""


def is_of_a_lora(name: str) -> bool:
    """Whether a tensor's name has a word in it that only LoRA files have, in whatever spelling."""
    return _LORA_LIKE.search(name) is not None


def is_of_a_model(name: str) -> bool:
    """Whether a dotted name begins as those of a model's parts do: what follows should have been understood."""
    return name.startswith(_WRAPPERS) or any(name.startswith(f"{root}.") for root in _roots(architectures()))


def kohya_spelling(shapes: Mapping[str, Sequence[int]], *, target: str = "te") -> tuple[dict[str, str], dict[str, str]]:
    """Return kohya's name of every tensor that some program's spelling explains, and the dotted path of each module.

    Args:
        shapes: of all tensors of the file, by name; they tell the family, which decides on prefixes and spelling.
        target: which text encoder paths without a root are of: "te", or "te2" where PEFT's options say so.

    Returns:
        kohya's names by the file's; a name that is not in it is none of a LoRA's, or not understood. And by kohya's
        module name the path that a dotted name had, as PEFT's options name it.
    """
    split = {name: found for name in shapes if (found := _split(name, target)) is not None}
    first_text = _first_text(split, shapes)
    first: dict[str, str] = {}
    paths: dict[str, str] = {}
    for name, found in split.items():
        root = first_text if found.root == "te" else found.root
        key = f"lora_{root}_" + found.path.replace(".", "_")
        first[name] = f"{key}.{found.part}"
        if found.dotted:
            paths[key] = found.dotted
    family = family_of({new: shapes[name] for name, new in first.items()})
    settled = {key: settled_key(key, family) for key in dict.fromkeys(new.partition(".")[0] for new in first.values())}
    return {name: _with_key(new, settled) for name, new in first.items()}, {settled[k]: p for k, p in paths.items()}


def _first_text(split: Mapping[str, Spelled], shapes: Mapping[str, Sequence[int]]) -> str:
    """Return what the text encoder without a number is called: "te", in SDXL "te1", or "te2" where it is as wide."""
    if any(found.root == "te2" for found in split.values()) or _is_wide(shapes):
        return "te1"
    for name, found in split.items():
        if found.root == "te" and found.part == "lora_down.weight" and re.search(r"[._][qkv]_proj$", found.path):
            return "te2" if list(shapes[name][1:2]) == [_two_encoders().text_encoders[1].width] else "te"
    return "te"


def settled_key(key: str, family: str) -> str:
    """Return the module name that a family's models know: SD1 and SD2 in diffusers' spelling, SDXL in either."""
    known, text = find_architecture(family), _TEXT_KEY.fullmatch(key)
    if text is not None:
        number = text.group(1) if known is None else known.text_number(text.group(1))
        return f"lora_te{number}_{_text_path(text.group(2))}"
    return key if known is None else known.settled(key)


def _with_key(name: str, keys: Mapping[str, str]) -> str:
    key, dot, part = name.partition(".")
    return f"{keys[key]}{dot}{part}"


def _text_path(path: str) -> str:
    """Return an underscored path below a text encoder as transformers 4 and all trainers have it."""
    path = re.sub(
        r"^(?:transformer_)?(?=text_model_|encoder_layers_|encoder_block_|text_projection|resblocks_)", "", path
    )
    path = re.sub(r"^model_(?:transformer_)?(?=resblocks_)", "", path)
    block = re.fullmatch(r"resblocks_(\d+)_(.+)", path)
    if block is not None and block.group(2) in _OPEN_CLIP:
        return f"text_model_encoder_layers_{block.group(1)}_{_OPEN_CLIP[block.group(2)]}"
    return f"text_model_{path}" if path.startswith("encoder_layers_") else path


def _split(name: str, target: str) -> Spelled | None:
    """Return a tensor's name taken apart, or None where no program known here spells a LoRA's tensor so."""
    if is_module_key(name):
        return _split_kohya(name)
    match = _part_pattern(tuple(kind.names for kind in KINDS)).fullmatch(name)
    if match is None:
        return None
    root, path, dotted = _rooted(match["path"], target)
    if root is None:
        return None
    if match["old"]:
        leaf = _old_leaf(match["proj"], root)
        return Spelled(root, f"{path}.{leaf}", f"lora_{match['old']}.weight", f"{dotted}.{leaf}")
    return Spelled(root, path, _part(match), dotted)


@lru_cache(maxsize=8)
def _part_pattern(kinds: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of dotted names, with the part names of all kinds in it."""
    return re.compile(_PART % "|".join(kinds))


def _part(match: re.Match[str]) -> str:
    """Return kohya's name of a part."""
    if match["ab"]:
        return f"lora_{_SIDES[match['ab']]}.weight"
    if match["side"]:
        return f"lora_{match['side']}.weight"
    if match["magnitude"]:
        return "dora_scale"
    if match["rotation"]:
        return "oft_R.weight"
    return "bias" if match["bias"] else match["named"] or match["kohya"]


def _old_leaf(projection: str, root: str) -> str:
    if root.startswith("te"):
        return _OLD_TEXT[projection]
    return "to_out.0" if projection == "to_out" else projection


@lru_cache(maxsize=2**16)
@lru_cache(maxsize=2**16)
def _split_kohya(name: str) -> Spelled | None:
    """Return an underscored name taken apart; LyCORIS' own prefix does not say which model, so the path does."""
    key, _, part = name.partition(".")
    peft = re.fullmatch(r"lora_([AB])(?:\.(?!weight|bias)[^.]+)*\.weight", part)
    part = f"lora_{_SIDES[peft.group(1)]}.weight" if peft is not None else part
    if not part:
        return None
    key = re.sub(r"^oft_(?=unet_|te\d?_)", "lora_", key)  # sd-scripts' own OFT
    text = _TEXT_KEY.fullmatch(key)
    if text is not None:
        return Spelled(f"te{text.group(1)}", text.group(2), part)
    if key.startswith("lycoris_"):
        path = re.sub(r"^(?:unet_|text_encoder_(?=text_model_|encoder_layers_))", "", key.removeprefix("lycoris_"))
        numbered = re.fullmatch(r"(?:te|text_encoder_)([123])_(.+)", path)
        if numbered is not None:
            return Spelled(f"te{numbered.group(1)}", numbered.group(2), part)
        return Spelled("te" if _BARE_TEXT.match(path) else "unet", path, part)
    if key.startswith(UNET_PREFIX):
        return Spelled("unet", key.removeprefix(UNET_PREFIX).removeprefix("_"), part)
    return None


def _rooted(path: str, target: str) -> tuple[str | None, str, str]:
    """Return which part of a model a dotted path lies in, the path in it, and the path without wrappers.

    The first is "unet", "te", "te2", …, a root of another program that stays, or None where nothing tells it.
    """
    path = _unwrapped(path)
    known = architectures()
    found = next((one for one in _roots(known) if path.startswith(f"{one}.")), None)
    if found is None:
        root = "unet" if _bare_unet(known).match(path) else target if _BARE_TEXT.match(path) else None
        return root, path, path
    inner = _unwrapped(path.removeprefix(f"{found}."))
    texts = _text_roots(known)
    if found in texts:
        return f"te{texts[found]}", inner, path
    if found == "transformer" and _BARE_TEXT.match(inner):
        return target, inner, path
    return "unet" if found in _UNET_ROOTS else found, inner, path


@lru_cache(maxsize=4)
def _text_roots(known: tuple[Architecture, ...]) -> Mapping[str, str]:
    """Return what a text encoder's dotted names begin with, by its number; "" is the first or only one."""
    roots = dict(_TEXT_ROOTS)
    for one in known:
        for at, encoder in enumerate(one.text_encoders):
            number = encoder.part.removeprefix("te") if at else ""
            own = (encoder.short, f"text_encoders.{encoder.short}", *encoder.roots)
            roots |= {root: number for root in own if root not in roots}
    return roots


@lru_cache(maxsize=4)
def _roots(known: tuple[Architecture, ...]) -> tuple[str, ...]:
    """Return every root of dotted names, the longest first."""
    return tuple(sorted((*_UNET_ROOTS, *_text_roots(known), "transformer", "prior"), key=len, reverse=True))


@lru_cache(maxsize=4)
def _bare_unet(known: tuple[Architecture, ...]) -> re.Pattern[str]:
    """Return the pattern of a module path without a root: it begins with a part of a UNet or transformer."""
    prefixes = (both for one in known for both in one.blocks.values())
    firsts = {path.split(".")[0] for both in prefixes for path in (*both.ldm, *both.diffusers)}
    return re.compile(rf"(?:{_UNET_STARTS}|{'|'.join(sorted(map(re.escape, firsts - {'out'})))})(?:[._]|$)")


def _unwrapped(path: str) -> str:
    """Return a dotted path without what wraps a model, in front or (a compiled one) in between."""
    while path.startswith(_WRAPPERS):
        path = path.removeprefix(next(one for one in _WRAPPERS if path.startswith(one)))
    return path.replace("._orig_mod.", ".")


def _is_wide(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether some cross-attention reads what two text encoders give."""
    widths = {shape[1] for name, shape in shapes.items() if "attn2" in name and "to_k" in name and len(shape) > 1}
    return bool(widths.intersection(_two_encoders().required_unet.cross_widths))


def _two_encoders() -> Architecture:
    """Return the family whose UNet reads two text encoders; no other's second one is as wide as its."""
    return next(one for one in architectures() if one.pooled)

"""The forms that LoRA files are written in: how a program calls a module, and what a file of it can hold.

Kohya's, ComfyUI's and OneTrainer's from the sources of sd-scripts, ComfyUI and OneTrainer (its five formats are four of
these, and one twice); diffusers' and PEFT's from these libraries, which the tests ask.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lib_lora.architectures.base import Architecture, TextEncoder
from lib_lora.architectures.modules import UNET_PREFIX
from lib_lora.architectures.registry import find_architecture
from lib_lora.architectures.transformer import flat

ALPHA_KEPT, ALPHA_FOLDED, ALPHA_TOLD = "kept", "folded", "told"
"""Where alpha goes: it stands in the file; it is multiplied into the numbers; the options beside the file tell it."""


@dataclass(frozen=True)
class Form:
    """One form of a LoRA file.

    Attributes:
        name: how options, REST and code call it.
        unet: what names of the UNet's (or transformer's) modules begin with.
        native: whether their paths are the model's makers' (LDM), or diffusers'; None: as its trainers have it.
        text: what names of a text encoder's modules begin with: "kohya", "diffusers", "comfyui", or "" where the form
            is of one model, and holds no second one.
        alpha: where alpha goes.
        peft: whether only what PEFT's LoRA knows can be in it; else whatever ComfyUI or kohya's programs read.
    """

    name: str
    unet: str
    native: bool | None
    text: str
    alpha: str = ALPHA_KEPT
    peft: bool = False

    @property
    def dotted(self) -> bool:
        """Whether paths have dots, so that only modules whose path is known can be named."""
        return self.unet != UNET_PREFIX


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        form.name: form
        for form in (
            Form("kohya", UNET_PREFIX, None, "kohya"),
            Form("kohya-ldm", UNET_PREFIX, True, "kohya"),
            Form("kohya-diffusers", UNET_PREFIX, False, "kohya"),
            Form("diffusers", "unet.", False, "diffusers", ALPHA_FOLDED, peft=True),
            Form("peft", "base_model.model.", False, "", ALPHA_TOLD, peft=True),
            Form("comfyui", "diffusion_model.", True, "comfyui"),
            Form("original", "", True, ""),
        )
    }
)
ALSO: Mapping[str, str] = MappingProxyType(
    {
        "onetrainer-kohya": "kohya",
        "onetrainer-legacy": "kohya-diffusers",
        "onetrainer-diffusers": "diffusers",
        "onetrainer-comfy": "comfyui",
        "onetrainer-original": "original",
    }
)
"""OneTrainer's own words for the forms that it writes."""

_TEXT = re.compile(r"lora_te(\d?)_(.+)")
_TEXT_PATHS = (
    (re.compile(r"text_model_encoder_layers_(\d+)_(self_attn)_([qkv]_proj|out_proj)"), "text_model.encoder.layers.{}"),
    (re.compile(r"text_model_encoder_layers_(\d+)_(mlp)_(fc[12])"), "text_model.encoder.layers.{}"),
    (re.compile(r"encoder_block_(\d+_layer_\d)_(SelfAttention)_([qkvo])"), "encoder.block.{}"),
    (re.compile(r"encoder_block_(\d+_layer_\d)_(DenseReluDense)_(wi_0|wi_1|wi|wo)"), "encoder.block.{}"),
    (re.compile(r"(?:model_)?layers_(\d+)_(self_attn)_([qkvo]_proj)"), "model.layers.{}"),
    (re.compile(r"(?:model_)?layers_(\d+)_(mlp)_((?:gate|up|down)_proj)"), "model.layers.{}"),
)
"""Underscored paths of CLIP's, T5's and Qwen's modules, and what their dotted ones begin with."""


def form_of(name: str) -> Form:
    """Return the form that a name means, OneTrainer's included.

    Raises:
        KeyError: there is none.
    """
    return FORMS[ALSO.get(name, name)]


def part_of(key: str, family: str) -> str:
    """Return which model a module is of, by its kohya name: "unet", or a text encoder's kohya name ("te1")."""
    text = _TEXT.fullmatch(key)
    if text is None:
        return "unet"
    encoder = _encoder(text.group(1), find_architecture(family))
    return f"te{text.group(1)}" if encoder is None else encoder.part


def spelled(key: str, family: str, form: Form) -> str | None:
    """Return a module's name in a form by its kohya name; None where the form needs its path, and nobody told it.

    Underscored forms leave a module that no model of the family has as it is. Which layer of a transformer is meant,
    and not only how it is called, must have been settled before (`merge.convert.fused`).
    """
    known, text = find_architecture(family), _TEXT.fullmatch(key)
    if text is not None:
        return _spelled_text(key, text.group(1), text.group(2), known, form)
    if known is None or (known.unet is None and known.transformer is None):
        return None if form.dotted else key
    path = _path(key, known, form)
    if path is None:
        return None if form.dotted else key
    if known.transformer is not None:
        return _spelled_transformer(path, known, form)
    return f"{form.unet}{path}" if form.dotted else UNET_PREFIX + flat(path)


def _path(key: str, known: Architecture, form: Form) -> str | None:
    """Return a module's dotted path in a form."""
    if known.transformer is not None:
        own = known.transformer.by_own.get(re.sub(r"^lora_(?=llm_adapter_)", UNET_PREFIX, key))
        layer, at = (own, 0) if own is not None else known.transformer.by_diffusers.get(key, (None, 0))
        if layer is None or (layer.differs and (form.native is not False) != (own is not None)):
            return None
        return layer.own if form.native is not False else layer.diffusers[at]
    module = known.find(key)
    if module is None:
        return None
    native = known.required_unet.ldm_keys if form.native is None else form.native
    return module.ldm if native else module.diffusers


def _spelled_transformer(path: str, known: Architecture, form: Form) -> str:
    assert known.transformer is not None
    if form.native is not False:
        return f"{form.unet}{known.transformer.wrapped if form.name == 'original' else ''}" + (
            path if form.dotted else flat(path)
        )
    if form.text == "":
        return f"{form.unet}{path}"
    whole = known.transformer.in_diffusers(path)
    return whole if form.dotted else f"lora_{flat(whole)}"


def _encoder(number: str, known: Architecture | None) -> TextEncoder | None:
    return None if known is None else known.text_encoder(number)


def _spelled_text(key: str, number: str, path: str, known: Architecture | None, form: Form) -> str | None:
    encoder = _encoder(number, known)
    if not form.dotted:
        return key if encoder is None else encoder.prefix + path
    dotted = _text_path(path)
    if dotted is None or encoder is None or known is None:
        return None
    if form.text == "comfyui":
        return f"text_encoders.{encoder.short}.transformer.{dotted}"
    at = known.text_encoders.index(encoder)
    return f"text_encoder{f'_{at + 1}' if at else ''}.{dotted}" if form.text else f"{form.unet}{dotted}"


def _text_path(path: str) -> str | None:
    """Return the dotted path of a text encoder's module by its underscored one, or None."""
    for pattern, start in _TEXT_PATHS:
        found = pattern.fullmatch(path)
        if found is not None:
            return ".".join([start.format(found.group(1).replace("_", ".")), found.group(2), found.group(3)])
    return path if path == "text_projection" else None

"""Where a checkpoint's file keeps the layers that a LoRA can change, read off the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from lib_lora.architectures.base import Architecture, TextEncoder
from lib_lora.architectures.modules import UNET_PREFIX

ROOTS = ("model.diffusion_model.", "diffusion_model.", "net.", "")
"""What the names of the UNet (or transformer) begin with: whole checkpoints, ComfyUI's, Anima's, a part alone."""

_OTHER_PARTS = ("first_stage_model.", "vae.", "text_encoders.", "cond_stage_model.", "conditioner.", "model_ema.")
"""What the names of other parts begin with, where the UNet's own begin with nothing."""

_CLIP = re.compile(r"(?:text_model\.)?((?:encoder\.layers\.(\d+)\..+|final_layer_norm))\.(weight|bias)")
_OPEN_CLIP = re.compile(r"transformer\.resblocks\.(\d+)\.(\w+(?:\.\w+)?)\.(weight|bias)")
_FUSED = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
_LEAVES = {
    "attn.out_proj": "self_attn_out_proj",
    "mlp.c_fc": "mlp_fc1",
    "mlp.c_proj": "mlp_fc2",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
}
_THIRDS = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj")


@dataclass(frozen=True)
class StoredLayer:
    """One layer of a checkpoint.

    Attributes:
        key: its kohya name, in the spelling of the family's trainers.
        weight, bias: the tensors that hold it; None where the file has none.
        third: which third of their rows is this layer's (q 0, k 1, v 2); None: all of them.
        turned: whether the weight is stored as (in, out).
        first: whether it is the UNet's first convolution, which has more inputs in inpainting models.
    """

    key: str
    weight: str | None = None
    bias: str | None = None
    third: int | None = None
    turned: bool = False
    first: bool = False


_Part = tuple[StoredLayer, str, str]
"""A layer as far as its name tells it, ``weight`` or ``bias``, and the tensor's name."""


def stored_layers(family: Architecture, names: Collection[str]) -> dict[str, StoredLayer]:
    """Return the layers of a checkpoint of a family by their kohya names; embeddings and the autoencoder are none."""
    found: dict[str, StoredLayer] = {}
    for layer, part, name in _parts(family, names):
        before = found.get(layer.key, layer)
        found[layer.key] = replace(before, weight=name) if part == "weight" else replace(before, bias=name)
    return found


def root_of(names: Collection[str]) -> str:
    """Return what the names of a checkpoint's UNet or transformer begin with."""
    return next(root for root in ROOTS if any(name.startswith(root) for name in names) or not root)


def _parts(family: Architecture, names: Collection[str]) -> Iterator[_Part]:
    root = root_of(names)
    encoders = [one for one in family.text_encoders if one.root]
    for name in names:
        encoder = next((one for one in encoders if name.startswith(one.root)), None)
        if encoder is not None:
            reader = _of_open_clip if encoder.open_clip else _of_clip
            yield from ((layer, part, name) for layer, part in reader(family, encoder, name[len(encoder.root) :]))
        elif name.startswith(root) and (root or not name.startswith(_OTHER_PARTS)):
            yield from ((layer, part, name) for layer, part in _of_unet(family, name[len(root) :]))


def _of_unet(family: Architecture, name: str) -> Iterator[tuple[StoredLayer, str]]:
    path, _, part = name.rpartition(".")
    if part not in ("weight", "bias"):
        return
    key = UNET_PREFIX + path.replace(".", "_")
    if family.unet is None:
        yield StoredLayer(family.settled(key)), part
        return
    module = family.find(key)
    if module is not None:
        yield StoredLayer(module.key, first=module.diffusers == "conv_in"), part


def _of_clip(_: Architecture, encoder: TextEncoder, name: str) -> Iterator[tuple[StoredLayer, str]]:
    found = _CLIP.fullmatch(name)
    if found is not None and int(found[2] or 0) < encoder.layers:
        yield StoredLayer(f"{encoder.prefix}text_model_{found[1].replace('.', '_')}"), found[3]


def _of_open_clip(family: Architecture, encoder: TextEncoder, name: str) -> Iterator[tuple[StoredLayer, str]]:
    """Yield the layers that one of OpenCLIP's tensors holds: of a fused one three, each a third of its rows."""
    fused, plain = _FUSED.fullmatch(name), _OPEN_CLIP.fullmatch(name)
    number = next((int(one[1]) for one in (fused, plain) if one is not None), 0)
    if number >= encoder.layers:  # SD2 leaves its last layer out
        return
    layer = f"{encoder.prefix}text_model_encoder_layers_{number}_"
    if fused is not None:
        for third, leaf in enumerate(_THIRDS):
            yield StoredLayer(layer + leaf, third=third), fused[2]
    elif plain is not None and plain[2] in _LEAVES:
        yield StoredLayer(layer + _LEAVES[plain[2]]), plain[3]
    elif name in ("ln_final.weight", "ln_final.bias"):
        yield StoredLayer(f"{encoder.prefix}text_model_final_layer_norm"), name.rpartition(".")[2]
    elif name == "text_projection" and family.pooled:
        yield StoredLayer(f"{encoder.prefix}text_projection", turned=True), "weight"

"""The live layers of a WebUI's model by their kohya module names; the host's modules have LDM's and its own names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.errors import InputError
from lib_lora.formats.adapters.layer import is_linear, is_norm
from lib_lora.formats.keys import to_diffusers

_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_LEAVES = {"attn.out_proj": "self_attn_out_proj", "mlp.c_fc": "mlp_fc1", "mlp.c_proj": "mlp_fc2"}
_THIRDS = ("q", "k", "v")


class FusedQkvSlice(nn.Linear):
    """The q, k or v part of OpenCLIP's fused attention as a Linear over the same bytes.

    The host multiplies the fused weight without calling a layer for each part, so a hook here is heard only while
    `split_attention` is in force.
    """

    def __init__(self, attention: nn.MultiheadAttention, index: int) -> None:
        nn.Module.__init__(self)
        self.in_features = self.out_features = attention.embed_dim
        self.index = index
        # Past nn.Module's registration: the attention owns its parameters, this is a view of them.
        object.__setattr__(self, "attention", attention)

    @property
    def weight(self) -> Tensor:
        """The rows of the fused weight that are this part's, wherever the host has them now."""
        return self.attention.in_proj_weight.detach().chunk(3)[self.index]

    @property
    def bias(self) -> Tensor | None:
        """Likewise of the bias."""
        fused = self.attention.in_proj_bias
        return None if fused is None else fused.detach().chunk(3)[self.index]


def unet_layers(unet: nn.Module, family: str) -> dict[str, nn.Module]:
    """Return every Linear and Conv2d of a UNet in LDM's naming by kohya name; SDXL under both spellings."""
    return _named(unet, family, lambda layer: is_linear(layer) or isinstance(layer, nn.Conv2d))


def unet_norms(unet: nn.Module, family: str) -> dict[str, nn.Module]:
    """Return every normalization of a UNet alike."""
    return _named(unet, family, is_norm)


def _named(unet: nn.Module, family: str, wanted: Callable[[nn.Module], bool]) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for path, layer in unet.named_modules():
        if not wanted(layer):
            continue
        try:
            found["lora_unet_" + to_diffusers(path, family).replace(".", "_")] = layer
        except InputError:
            continue  # a part that no trainer names, such as an extension's own module
        if architecture_of(family).required_unet.ldm_keys:
            found["lora_unet_" + path.replace(".", "_")] = layer
    return found


def context_width(unet: nn.Module) -> int | None:
    """Return the width of the text that a UNet's cross-attention reads; None where it has none of that name."""
    for path, layer in unet.named_modules():
        if path.endswith("attn2.to_k"):
            return layer.weight.shape[1]
    return None


def clip_layers(encoder: nn.Module, prefix: str) -> dict[str, nn.Module]:
    """Return the Linear layers of a text encoder in transformers' naming; ``prefix`` is ``lora_te_`` and the like."""
    return {
        prefix + path.replace(".", "_"): layer
        for path, layer in encoder.named_modules()
        if path.startswith("text_model.encoder.layers.") and is_linear(layer)
    }


def open_clip_layers(encoder: nn.Module, prefix: str, *, unused: int) -> dict[str, nn.Module]:
    """Return the layers of an OpenCLIP text encoder; the last ``unused`` blocks take no part in the conditioning."""
    blocks = len(encoder.transformer.resblocks) - unused
    found: dict[str, nn.Module] = {}
    for path, layer in encoder.named_modules():
        match = _BLOCK.fullmatch(path)
        if match is None or int(match.group(1)) >= blocks:
            continue
        root = f"{prefix}text_model_encoder_layers_{match.group(1)}_"
        if match.group(2) in _LEAVES:
            found[root + _LEAVES[match.group(2)]] = layer
        elif isinstance(layer, nn.MultiheadAttention):
            for index, name in enumerate(_THIRDS):
                found[f"{root}self_attn_{name}_proj"] = FusedQkvSlice(layer, index)
    return found


def fused_attentions(
    layers: Mapping[str, nn.Module],
) -> Iterator[tuple[nn.MultiheadAttention, tuple[FusedQkvSlice, ...]]]:
    """Yield each fused attention with its three parts."""
    parts: dict[int, list[FusedQkvSlice]] = {}
    for layer in layers.values():
        if isinstance(layer, FusedQkvSlice):
            parts.setdefault(id(layer.attention), []).append(layer)
    for three in parts.values():
        yield three[0].attention, tuple(sorted(three, key=lambda third: third.index))


def split_forward(
    attention: nn.MultiheadAttention, slices: tuple[FusedQkvSlice, ...]
) -> Callable[..., tuple[Tensor, None]]:
    """Return a forward of a fused attention that calls one layer for each part, so that hooks on them are heard."""

    def forward(
        query: Tensor, key: Tensor, value: Tensor, *_: object, attn_mask: Tensor | None = None, **__: object
    ) -> tuple[Tensor, None]:
        parts = [third(x) for third, x in zip(slices, (query, key, value), strict=True)]
        first = not attention.batch_first  # (length, batch, width), as OpenCLIP has it
        heads = [_heads(part.transpose(0, 1) if first else part, attention.num_heads) for part in parts]
        mask = attn_mask.to(heads[0].dtype) if attn_mask is not None and attn_mask.is_floating_point() else attn_mask
        mixed = nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask)
        mixed = mixed.transpose(1, 2).flatten(2)
        return attention.out_proj(mixed.transpose(0, 1) if first else mixed), None

    return forward


def _heads(x: Tensor, count: int) -> Tensor:
    """Return ``(batch, length, width)`` as ``(batch, heads, length, width / heads)``."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def size_embedding(sizes: Tensor) -> Tensor:
    """Return SDXL's embedding ``(batch, 1536)`` of size conditions ``(batch, 6)``.

    Each of the six numbers becomes 256 cosines and sines (arXiv:2307.01952, section 2.2).
    """
    steps = torch.arange(128, dtype=torch.float32, device=sizes.device)
    angles = sizes.float()[:, :, None] * torch.exp(-steps * (9.210340371976184 / 128))  # ln 10000
    return torch.cat([angles.cos(), angles.sin()], dim=-1).flatten(1)

"""Checkpoints in the names of SD1, SD2 and SDXL with a handful of layers, and what a tuning makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.formats.files import read_tensors, write_tensors

WIDE, TEXT = 80, 48
UNET = "model.diffusion_model."
_BLOCK = UNET + "input_blocks.4.1."
_TEXTS = {
    "sd1": ("cond_stage_model.transformer.text_model.encoder.layers.0.", False),
    "sd2": ("cond_stage_model.model.transformer.resblocks.0.", True),
    "sdxl": ("conditioner.embedders.1.model.transformer.resblocks.0.", True),
}
CROSS = {"sd1": 768, "sd2": 1024, "sdxl": 2048}

QUERY, KEY, CONV, POINT = (
    _BLOCK + "transformer_blocks.0.attn1.to_q.weight",
    _BLOCK + "transformer_blocks.0.attn2.to_k.weight",
    UNET + "input_blocks.4.0.in_layers.2.weight",
    _BLOCK + "proj_in.weight",
)
NORM, BIAS = _BLOCK + "norm.weight", _BLOCK + "proj_in.bias"
VAE = "first_stage_model.decoder.conv_in.weight"


def text_weight(family: str, leaf: str) -> str:
    """Return the name of a text encoder's weight: q, fc1."""
    root, fused = _TEXTS[family]
    names = {"q": "attn.in_proj_weight", "fc1": "mlp.c_fc.weight"} if fused else {}
    return root + names.get(leaf, {"q": "self_attn.q_proj.weight", "fc1": "mlp.fc1.weight"}[leaf])


def shapes(family: str) -> dict[str, tuple[int, ...]]:
    fused = _TEXTS[family][1]
    return {
        QUERY: (WIDE, WIDE),
        KEY: (WIDE, CROSS[family]),
        CONV: (WIDE, WIDE, 3, 3),
        POINT: (WIDE, WIDE, 1, 1) if family == "sd1" else (WIDE, WIDE),
        NORM: (WIDE,),
        BIAS: (WIDE,),
        text_weight(family, "q"): (3 * TEXT if fused else TEXT, TEXT),
        text_weight(family, "fc1"): (4 * TEXT, TEXT),
        **(
            {"conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (8,)} if family == "sdxl" else {}
        ),
        VAE: (4, 4, 3, 3),
    }


def write_original(path: Path, family: str, *, dtype: torch.dtype = torch.float32, **metadata: str) -> Path:
    """Write a random checkpoint."""
    generator = torch.Generator().manual_seed(3)
    tensors = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes(family).items()}
    return write_tensors(path, {name: tensor.to(dtype) for name, tensor in tensors.items()}, metadata)


def low_rank(shape: tuple[int, ...], rank: int, *, seed: int, strength: float = 0.02) -> Tensor:
    """Return a random change of a rank."""
    generator = torch.Generator().manual_seed(seed)
    columns = int(torch.Size(shape[1:]).numel())
    up, down = torch.randn(shape[0], rank, generator=generator), torch.randn(rank, columns, generator=generator)
    return (up @ down).reshape(shape) * strength / rank**0.5


def tuned_from(
    original: Path, target: Path, change: Callable[[str, Tensor], Tensor], *, dtype: torch.dtype | None = None
) -> Path:
    """Write what a tuning makes of a checkpoint: ``change`` returns each tensor's new numbers."""
    tensors, metadata = read_tensors(original)
    changed = {name: change(name, tensor.float()).to(dtype or tensor.dtype) for name, tensor in tensors.items()}
    return write_tensors(target, changed, metadata)


def digest(path: Path) -> str:
    """Return a file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Random LoRAs and checkpoints with the layers of whole SD1.5 and SDXL models, or every n-th of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.formats.adapters import LoraAdapter
from lib_lora.formats.files import write_tensors
from lib_lora.formats.keys import module_table
from lib_lora.formats.lora import LoraFile, write_lora

ROOT = "model.diffusion_model."
_WIDTHS = {
    "sd1": {320: ("IN01", "IN02", "OUT09", "OUT10", "OUT11"), 640: ("IN04", "IN05", "OUT06", "OUT07", "OUT08")},
    "sdxl": {640: ("IN04", "IN05", "OUT03", "OUT04", "OUT05")},
}
"""Blocks whose attention is narrower than 1280."""
_CONTEXT = {"sd1": 768, "sdxl": 2048}
_TEXT = {"te": 768, "te1": 768, "te2": 1280}


@dataclass(frozen=True)
class Layer:
    """A layer that a LoRA of a family changes: kohya's key, its tensor in a checkpoint, (out, in)."""

    key: str
    tensor: str
    shape: tuple[int, int]


def layers(family: str, *, every: int = 1) -> list[Layer]:
    """Return the layers that a whole LoRA of attention and feed-forward has, or every n-th of them.

    The first reads the text: a checkpoint of it alone tells its family.
    """
    return sorted(_layers(family), key=lambda one: "attn2_to_k" not in one.key)[::every]


def _layers(family: str) -> Iterator[Layer]:
    for module in module_table(family):
        if module.part != "unet":
            width = _TEXT[module.part]
            yield Layer(module.key, module.ldm, _inner(module.key, width, hidden=4))
            continue
        width = next((w for w, blocks in _WIDTHS[family].items() if module.block in blocks), 1280)
        reads = _CONTEXT[family] if "attn2_to_k" in module.key or "attn2_to_v" in module.key else width
        yield Layer(module.key, f"{ROOT}{module.ldm}.weight", _inner(module.key, width, reads=reads, hidden=8))


def _inner(key: str, width: int, *, hidden: int, reads: int = 0) -> tuple[int, int]:
    if key.endswith(("ff_net_0_proj", "mlp_fc1")):
        return hidden * width, width
    if key.endswith(("ff_net_2", "mlp_fc2")):
        return width, 4 * width
    return width, reads or width


def change(shape: tuple[int, int], *, seed: int, strength: float = 0.3) -> Tensor:
    """Return a change whose singular values decay as 1/√i, as those of fine-tunings do."""
    generator = torch.Generator().manual_seed(seed)
    size = min(shape)
    left, _ = torch.linalg.qr(torch.randn(shape[0], size, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(shape[1], size, generator=generator))
    return (left * torch.arange(1, size + 1).float() ** -0.5 * strength) @ right.T


def write_checkpoints(folder: Path, found: list[Layer]) -> None:
    """Write ``original`` and ``tuned`` in fp32."""
    generator = torch.Generator().manual_seed(1)
    original = {one.tensor: torch.randn(one.shape, generator=generator) * 0.03 for one in found}
    write_tensors(folder / "original.safetensors", original, {})
    for number, (name, weight) in enumerate(original.items()):
        original[name] = weight + change(tuple(weight.shape), seed=number)
    write_tensors(folder / "tuned.safetensors", original, {})


def write_lora_of(path: Path, found: list[Layer], rank: int, *, seed: int) -> None:
    """Write a LoRA of these layers in fp16, its singular values decaying."""
    generator = torch.Generator().manual_seed(seed)
    decay = torch.arange(1, rank + 1).float() ** -0.5
    adapters = {}
    for one in found:
        up = torch.randn(one.shape[0], rank, generator=generator) * decay * 0.05
        down = torch.randn(rank, one.shape[1], generator=generator) * 0.05
        adapters[one.key] = LoraAdapter(one.key, up.half(), down.half(), None, float(rank))
    write_lora(LoraFile(adapters), path)

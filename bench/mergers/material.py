"""Random LoRAs and checkpoints with layers as wide as SD1.5's, as many of each width as are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.formats.adapters import LoraAdapter
from lib_lora.formats.files import write_tensors
from lib_lora.formats.lora import LoraFile, write_lora

ROOT, TEXT = "model.diffusion_model.", "cond_stage_model.transformer.text_model.encoder.layers."
_WIDTHS = {1: 320, 4: 640, 7: 1280}
"""Width of the attention in an input block."""
_LEAVES = {"attn1.to_q": 1, "attn1.to_out.0": 1, "attn2.to_q": 1, "attn2.to_k": 768}
"""Layers of a transformer block: inputs, 1 for the block's own width."""


def layers(count: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield tensor names and shapes of a checkpoint: ``count`` layers of the UNet, and two of the text encoder."""
    every = [
        (f"{ROOT}input_blocks.{block}.1.transformer_blocks.0.{leaf}.weight", (width, width if inner == 1 else inner))
        for leaf, inner in _LEAVES.items()
        for start, width in _WIDTHS.items()
        for block in (start, start + 1)
    ]
    yield from every[:count]
    yield from ((f"{TEXT}{layer}.self_attn.q_proj.weight", (768, 768)) for layer in range(2))


def change(shape: tuple[int, int], *, seed: int, strength: float = 0.3) -> Tensor:
    """Return a change whose singular values decay as 1/√i, as those of fine-tunings do."""
    generator = torch.Generator().manual_seed(seed)
    size = min(shape)
    left, _ = torch.linalg.qr(torch.randn(shape[0], size, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(shape[1], size, generator=generator))
    return (left * torch.arange(1, size + 1).float() ** -0.5 * strength) @ right.T


def write_checkpoints(folder: Path, count: int) -> None:
    """Write ``original`` and ``tuned`` in fp32, and a first convolution that names the family."""
    generator = torch.Generator().manual_seed(1)
    original = {name: torch.randn(shape, generator=generator) * 0.03 for name, shape in layers(count)}
    tuned = {name: weight + change(tuple(weight.shape), seed=n) for n, (name, weight) in enumerate(original.items())}
    for name, tensors in (("original", original), ("tuned", tuned)):
        write_tensors(folder / f"{name}.safetensors", tensors, {})


def write_lora_of(path: Path, count: int, rank: int, *, seed: int) -> None:
    """Write a LoRA of the same layers in fp16, its singular values decaying."""
    from lib_lora.architectures.registry import architecture_of
    from lib_lora.architectures.stored import stored_layers

    shapes = dict(layers(count))
    generator = torch.Generator().manual_seed(seed)
    adapters = {}
    for key, layer in stored_layers(architecture_of("sd1"), shapes).items():
        rows, columns = shapes[str(layer.weight)]
        decay = torch.arange(1, rank + 1).float() ** -0.5
        up = torch.randn(rows, rank, generator=generator) * decay * 0.05
        down = torch.randn(rank, columns, generator=generator) * 0.05
        adapters[key] = LoraAdapter(key, up.half(), down.half(), None, float(rank))
    write_lora(LoraFile(adapters), path)

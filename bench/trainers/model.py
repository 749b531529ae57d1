"""The model that both sides train: random numbers in the SD1 layout, small or at its own size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.keys import to_ldm
from lib_lora.host.studio import POCKET

WIDTHS = {"small": (64, 64, 128, 128), "sd15": (320, 640, 1280, 1280)}
TEXT = {"small": (64, 128, 3, 1), "sd15": (768, 3072, 12, 12)}
"""Width, inner width, layers and heads of the text encoder."""
SIDES = {"small": 8, "sd15": 64}
"""Latent sides of the pictures: 64 is 512 px."""
TOKENIZER = POCKET.parent / "text"


def write_model(folder: Path, shape: str, predicts: str) -> None:
    """Write a random model: ``model.safetensors`` in LDM names, and its parts in the reference's own names."""
    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        sample_size=SIDES[shape],
        layers_per_block=2,
        block_out_channels=WIDTHS[shape],
        attention_head_dim=8,
        cross_attention_dim=TEXT[shape][0],
    )
    text = CLIPTextModel(CLIPTextConfig(**text_config(shape)))
    bare = {name.removeprefix("text_model."): tensor for name, tensor in text.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in unet.state_dict().items()}, folder / "unet.safetensors")
    save_file({f"text_model.{name}": t.contiguous() for name, t in bare.items()}, folder / "text.safetensors")
    tensors = {f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in bare.items()}
    for name, tensor in unet.state_dict().items():
        path, _, leaf = name.rpartition(".")
        tensors[f"model.diffusion_model.{to_ldm(path, 'sd1')}.{leaf}"] = tensor
    if predicts != "epsilon":
        tensors["v_pred"] = torch.zeros(1)
    if predicts == "ztsnr":
        tensors["ztsnr"] = torch.zeros(1)
    write_tensors(folder / "model.safetensors", {n: t.contiguous() for n, t in (tensors | _vae()).items()}, {})


def _vae() -> dict[str, torch.Tensor]:
    """Return the shipped autoencoder's tensors: a checkpoint must have one, and nothing here uses it."""
    return {name: t for name, t in read_tensors(POCKET)[0].items() if name.startswith("first_stage_model.")}


def text_config(shape: str) -> dict[str, Any]:
    """Return the text encoder's configuration, with the vocabulary of the shipped tokenizer."""
    vocabulary = len(json.loads((TOKENIZER / "vocab.json").read_text(encoding="utf-8")))
    width, inner, layers, heads = TEXT[shape]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 77,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "hidden_act": "quick_gelu",
    }

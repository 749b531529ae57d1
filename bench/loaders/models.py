"""Random models in the layouts of SD1, SD2 and SDXL, at any width: for what needs a layout and no knowledge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from bench.trainers.model import TOKENIZER
from lib_lora.data.captions import CaptionRules
from lib_lora.data.dataset import Picture
from lib_lora.host.noise_schedule import NOISE, Marks
from lib_lora.host.studio.checkpoint import Checkpoint
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.host.studio.tokenizer import find_tokenizer
from lib_lora.train import network
from lib_lora.train.options import from_mapping
from lib_lora.train.ratio_optimizer import optimizer_for
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample, TrainingSet

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"family": "sd1", "side": 8, "widths": (32, 32, 64, 64), "text": ((32, 64, 2, 1),)},
    "small sd1": {"family": "sd1", "side": 8, "widths": (64, 64, 128, 128), "text": ((64, 128, 3, 1),)},
    "small sd2": {"family": "sd2", "side": 8, "widths": (64, 64, 128, 128), "text": ((128, 256, 3, 2),)},
    "small sdxl": {
        "family": "sdxl",
        "side": 8,
        "widths": (64, 128, 256),
        "depth": [1, 2, 3],
        "text": ((64, 128, 3, 1), (128, 256, 3, 2)),
    },
    "sd15": {"family": "sd1", "side": 64, "widths": (320, 640, 1280, 1280), "text": ((768, 3072, 12, 12),)},
    "sdxl": {
        "family": "sdxl",
        "side": 128,
        "widths": (320, 640, 1280),
        "depth": [1, 2, 10],
        "text": ((768, 3072, 12, 12), (1280, 5120, 32, 20)),
    },
}
"""Family, latent side, widths of the UNet, its transformers' depth, and of each text encoder width, inner width,
layers and heads."""


def unet_of(shape: dict[str, Any]) -> UNet2DConditionModel:
    """Return a UNet of random numbers."""
    widths = shape["widths"]
    common = {"sample_size": shape["side"], "layers_per_block": 2, "block_out_channels": widths}
    context = sum(text[0] for text in shape["text"])
    if shape["family"] != "sdxl":
        second = shape["family"] == "sd2"
        heads = [max(1, width // 64) for width in widths] if second else 8
        return UNet2DConditionModel(
            **common, attention_head_dim=heads, cross_attention_dim=context, use_linear_projection=second
        )
    return UNet2DConditionModel(
        **common,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=shape["depth"],
        attention_head_dim=[max(1, width // 64) for width in widths],
        cross_attention_dim=context,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + shape["text"][-1][0],
    )


def text_configs(shape: dict[str, Any], words: int) -> list[dict[str, Any]]:
    """Return the configuration of each text encoder, for a vocabulary of so many words."""
    return [
        {
            "vocab_size": words,
            "max_position_embeddings": 77,
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "projection_dim": width,
            "hidden_act": "quick_gelu" if shape["family"] == "sd1" or not number and len(shape["text"]) > 1 else "gelu",
        }
        for number, (width, inner, layers, heads) in enumerate(shape["text"])
    ]


def texts_of(shape: dict[str, Any], words: int) -> tuple[torch.nn.Module, ...]:
    """Return the text encoders."""
    first, *second = (CLIPTextConfig(**config) for config in text_configs(shape, words))
    return CLIPTextModel(first), *(CLIPTextModelWithProjection(config) for config in second)


def model_of(shape: dict[str, Any], device: torch.device) -> DiffusersModel:
    """Return a random model of a shape, in fp16 on a GPU; its autoencoder is a small one that nothing here uses."""
    torch.manual_seed(4)
    words = find_tokenizer(TOKENIZER, family=shape["family"])
    tiny = {"block_out_channels": (32,) * 4, "norm_num_groups": 32, "layers_per_block": 1}
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    made = Checkpoint(
        Path("random.safetensors"), shape["family"], unet_of(shape), AutoencoderKL(**tiny, **kinds),
        texts_of(shape, len(words)), words, NOISE, 0.18215, (0.00085, 0.012), Marks(False, False),
    )  # fmt: skip
    for part in (made.unet, made.vae, *made.text_encoders):
        part.requires_grad_(False).eval()
    return DiffusersModel(made, device=device, dtype=torch.float16 if device.type == "cuda" else torch.float32)


def training_of(
    model: DiffusersModel, shape: dict[str, Any], values: dict[str, Any], place: Path, *, pictures: int
) -> Training:
    """Return a run with some options on random latents, ready for `attach` and `one_step`; it lies in ``place``."""
    chosen = from_mapping({"images": str(place), "name": "bench", "repeats": 1, **values}, where="bench")
    generator, side = torch.Generator().manual_seed(1), shape["side"]
    pixels, samples = 8 * side, []
    for number in range(pictures):
        picture = Picture(place / f"{number}.png", "a cat", 1, (pixels, pixels), False, str(number))
        latents = (torch.randn(4, side, side, generator=generator),)
        sizes = ((pixels, pixels, 0, 0, pixels, pixels),)
        samples.append(Sample(picture, "a cat", latents, sizes, 1.0, CaptionRules()))
    lora = network.new_lora(model, chosen)
    optimizer = optimizer_for(chosen, network.groups(lora, chosen, model.family))
    folder, data = RunFolder.create(place / "run", chosen), TrainingSet(tuple(samples), (), "")
    return Training(model, chosen, folder, data, lora, optimizer, total=chosen.steps)

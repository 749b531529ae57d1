"""How a checkpoint's networks are built, read off its tensors, so that any SD1, SD2 or SDXL file opens offline.

What shapes cannot tell (the number of attention heads) comes from the ``.yaml`` beside the file where there is one,
else from what the family always has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib_lora.architectures import registry
from lib_lora.architectures.registry import architecture_of
from lib_lora.errors import FileError
from lib_lora.sentences import say

UNET = "model.diffusion_model."
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LdmConfig:
    """The few values of an LDM config file that a loader needs; all optional."""

    heads: int | None = None
    prediction_type: str | None = None
    latent_scale: float | None = None
    betas: tuple[float, float] | None = None
    text_folder: Path | None = None

    @classmethod
    def beside(cls, checkpoint: Path) -> LdmConfig:
        """Read the config of the same name beside ``checkpoint``; empty where there is none.

        Raises:
            FileError: the file is there but is no LDM config.
        """
        path = checkpoint.with_suffix(".yaml")
        if not path.is_file():
            return cls()
        try:
            params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
            unet = params.get("unet_config", {}).get("params", {})
            version = params.get("cond_stage_config", {}).get("params", {}).get("version")
            ends = params.get("linear_start"), params.get("linear_end")
            betas = None if None in ends else (float(ends[0]), float(ends[1]))
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(
                "The model's config cannot be read", where=str(path), cure="Repair it or move it away."
            ) from error
        folder = path.parent / Path(version).name if version else None
        prediction = {"v": "v_prediction", "eps": "epsilon"}.get(params.get("parameterization", ""))
        return cls(
            heads=unet.get("num_heads"),
            prediction_type=prediction,
            latent_scale=params.get("scale_factor"),
            betas=betas,
            text_folder=folder if folder and folder.is_dir() else None,
        )


def family_of_checkpoint(names: Iterable[str], *, where: str) -> str:
    """Return the family of a checkpoint with a UNet from its tensors' names.

    Raises:
        FileError: it is none of these; the message says what it looks like.
    """
    present = set(names)
    if not any(name.startswith(UNET) for name in present):
        if any(".lora_" in name for name in present):
            cure = say("Give a checkpoint here, and name the LoRA in the prompt: <lora:NAME:1>.")
            raise FileError("This is a LoRA, not a model", where=where, cure=cure)
        raise FileError(
            "This file holds no Stable Diffusion UNet", where=where, cure="Choose a full SD1, SD2 or SDXL checkpoint."
        )
    found = registry.family_of_checkpoint(present)
    if found is not None and found.unet is not None:
        return found.name
    raise FileError(
        "The checkpoint has no text encoder that the studio knows",
        where=where,
        cure="SD3, Flux, refiners and pruned files cannot be loaded; choose a full SD1, SD2 or SDXL checkpoint.",
    )


def unet_config(shapes: Shapes, family: str, heads: int | None, *, where: str) -> dict[str, Any]:
    """Return the arguments of diffusers' `UNet2DConditionModel` for a UNet in LDM names.

    Raises:
        FileError: the input has other channels than 4 (inpainting, instruct-pix2pix).
    """
    first = shapes[UNET + "input_blocks.0.0.weight"]
    if first[1] != 4:
        what = say("This is no plain model ({n} input channels)", n=first[1])
        if first[1] == 9:
            what = say("This is an inpainting model ({n} input channels)", n=first[1])
        if first[1] == 8:
            what = say("This is an instruct-pix2pix or upscaling model ({n} input channels)", n=first[1])
        raise FileError(what, where=where, cure="Choose a plain model.")
    channels, depths, layers = _levels(shapes)
    context = next(s[1] for n, s in shapes.items() if n.startswith(UNET) and n.endswith("attn2.to_k.weight"))
    linear = next(len(s) == 2 for n, s in shapes.items() if n.startswith(UNET) and n.endswith(".proj_in.weight"))
    heads = heads or architecture_of(family).required_unet.heads
    per_level: Any = heads or [width // 64 for width in channels]
    config: dict[str, Any] = {
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "cross_attention_dim": context,
        "attention_head_dim": per_level,  # diffusers' name for the number of heads in these models
        "use_linear_projection": linear,
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "down_block_types": tuple("CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths),
        "up_block_types": tuple("CrossAttnUpBlock2D" if d else "UpBlock2D" for d in reversed(depths)),
    }
    label = shapes.get(UNET + "label_emb.0.0.weight")
    if label is not None:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": label[1],
        }
    return config


def _levels(shapes: Shapes) -> tuple[list[int], list[int], int]:
    """Return channels and transformer depth of every resolution level, and the ResNet blocks per level."""
    count = 1 + max(int(m[1]) for n in shapes if (m := re.match(re.escape(UNET) + r"input_blocks\.(\d+)\.", n)))
    channels: list[int] = []
    depths: list[int] = []
    layers, fresh = 0, True
    for block in range(1, count):
        name = f"{UNET}input_blocks.{block}."
        if name + "0.op.weight" in shapes:
            fresh = True
            continue
        if fresh:
            channels.append(shapes[name + "0.out_layers.3.weight"][0])
            depths.append(len({n.split(".")[6] for n in shapes if n.startswith(name + "1.transformer_blocks.")}))
            fresh = False
        layers += len(channels) == 1
    return channels, depths, layers


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Return the arguments of diffusers' `AutoencoderKL` for an autoencoder in LDM names."""
    ups = [
        (int(m[1]), int(m[2]))
        for n in shapes
        if (m := re.match(r"first_stage_model\.decoder\.up\.(\d+)\.block\.(\d+)\.", n))
    ]
    levels = 1 + max(level for level, _ in ups)
    channels = [shapes[f"first_stage_model.decoder.up.{level}.block.0.conv2.weight"][0] for level in range(levels)]
    return {
        "block_out_channels": tuple(channels),
        "layers_per_block": max(block for _, block in ups),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": shapes["first_stage_model.decoder.conv_in.weight"][1],
    }


def clip_config(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """Return the arguments of a `CLIPTextConfig` for a Hugging Face text model under ``prefix``."""
    vocabulary, width = shapes[prefix + "embeddings.token_embedding.weight"]
    layers = 1 + max(int(n[len(prefix) :].split(".")[2]) for n in shapes if n.startswith(prefix + "encoder.layers."))
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[prefix + "encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": shapes[prefix + "embeddings.position_embedding.weight"][0],
        "hidden_act": "quick_gelu",
        "projection_dim": width,
    }


def open_clip_config(shapes: Shapes, prefix: str, *, drop_last: bool) -> dict[str, Any]:
    """Return the arguments of a `CLIPTextConfig` for an open_clip text model under ``prefix``.

    Args:
        shapes: shape of every tensor of the file.
        prefix: what stands before ``token_embedding.weight``.
        drop_last: leave the last layer out (SD2 was trained on the one before it).
    """
    vocabulary, width = shapes[prefix + "token_embedding.weight"]
    blocks = prefix + "transformer.resblocks."
    layers = 1 + max(int(n[len(blocks) :].split(".")[0]) for n in shapes if n.startswith(blocks))
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[blocks + "0.mlp.c_fc.weight"][0],
        "num_hidden_layers": layers - drop_last,
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": shapes[prefix + "positional_embedding"][0],
        "hidden_act": "gelu",
        "projection_dim": shapes.get(prefix + "text_projection", (0, width))[1],
    }

"""Small random checkpoints in the shapes of SD1, SD2 and SDXL, written in LDM names."""

from __future__ import annotations

import json

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.keys import to_ldm
from lib_lora.host.studio import POCKET

WIDE, NARROW = 128, 64
TOKENIZER = POCKET.parent / "text"


def small_unet(family: str) -> UNet2DConditionModel:
    common = {"sample_size": 8, "layers_per_block": 2, "norm_num_groups": 32}
    if family == "sdxl":
        return UNet2DConditionModel(
            **common,
            block_out_channels=(64, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2, 3],
            attention_head_dim=[1, 1, 2],
            cross_attention_dim=NARROW + WIDE,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=256 * 6 + WIDE,
        )
    return UNet2DConditionModel(
        **common,
        block_out_channels=(64, 64, 128, 128),
        attention_head_dim=8 if family == "sd1" else [1, 1, 2, 2],
        cross_attention_dim=NARROW if family == "sd1" else WIDE,
        use_linear_projection=family == "sd2",
    )


def ldm_unet(unet: UNet2DConditionModel, family: str) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in unet.state_dict().items():
        path, _, leaf = name.rpartition(".")
        renamed[f"model.diffusion_model.{to_ldm(path, family)}.{leaf}"] = tensor
    return renamed


def hf_text(width: int, layers: int = 3) -> CLIPTextConfig:
    vocabulary = len(json.loads((TOKENIZER / "vocab.json").read_text(encoding="utf-8")))
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        hidden_act="quick_gelu" if width == NARROW else "gelu",
    )


def bare(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("text_model."): tensor for name, tensor in state.items()}


def open_clip(state: dict[str, torch.Tensor], prefix: str, extra_layers: int) -> dict[str, torch.Tensor]:
    """Fuse q, k and v as open_clip stores them."""
    state, found = bare(state), {}
    layers = sorted({int(name.split(".")[2]) for name in state if name.startswith("encoder.layers.")})
    for layer in [*layers, *range(len(layers), len(layers) + extra_layers)]:
        own = {n: t for n, t in state.items() if n.startswith(f"encoder.layers.{min(layer, layers[-1])}.")}
        block = f"{prefix}transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            parts = [next(t for n, t in own.items() if n.endswith(f"self_attn.{x}_proj.{kind}")) for x in "qkv"]
            found[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
            for theirs, ours in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
            ):
                found[f"{block}{theirs}.{kind}"] = next(t for n, t in own.items() if n.endswith(f"{ours}.{kind}"))
    found[prefix + "token_embedding.weight"] = state["embeddings.token_embedding.weight"]
    found[prefix + "positional_embedding"] = state["embeddings.position_embedding.weight"]
    for kind in ("weight", "bias"):
        found[f"{prefix}ln_final.{kind}"] = state[f"final_layer_norm.{kind}"]
    if "text_projection.weight" in state:
        found[prefix + "text_projection"] = state["text_projection.weight"].T.contiguous()
    return found


def write_checkpoint(folder, family: str, **changes):
    """Write a random checkpoint; return its path and the modules that it was made of."""
    torch.manual_seed(4)
    unet = small_unet(family)
    tensors = ldm_unet(unet, family)
    vae = {n: t for n, t in read_tensors(POCKET)[0].items() if n.startswith("first_stage_model.")}
    texts: list[torch.nn.Module] = []
    if family in ("sd1", "sdxl"):
        texts.append(CLIPTextModel(hf_text(NARROW)))
        outer = "cond_stage_model." if family == "sd1" else "conditioner.embedders.0."
        tensors |= {f"{outer}transformer.text_model.{n}": t for n, t in bare(texts[0].state_dict()).items()}
    if family == "sd2":
        texts.append(CLIPTextModel(hf_text(WIDE)))
        tensors |= open_clip(texts[0].state_dict(), "cond_stage_model.model.", extra_layers=1)
    if family == "sdxl":
        texts.append(CLIPTextModelWithProjection(hf_text(WIDE)))
        tensors |= open_clip(texts[1].state_dict(), "conditioner.embedders.1.model.", extra_layers=0)
    tensors = {n: t.contiguous() for n, t in (tensors | vae | changes.get("tensors", {})).items() if t is not None}
    path = folder / f"{family}.safetensors"
    write_tensors(path, tensors, changes.get("metadata", {}))
    return path, unet, texts

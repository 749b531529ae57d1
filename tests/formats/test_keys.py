from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel

from lib_lora.blocks.layouts import full_layout
from lib_lora.errors import InputError
from lib_lora.formats.families import family_of
from lib_lora.formats.keys import (
    block_of_key,
    find_module,
    is_3x3_key,
    module_table,
    to_diffusers,
    to_ldm,
)

TABLES = [("sd1", False, 264), ("sd1", True, 350), ("sd2", False, 330), ("sdxl", False, 986), ("sdxl", True, 1052)]

SD1_ATTENTION = ["IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00", *(f"OUT{n:02d}" for n in range(3, 12))]


@pytest.mark.parametrize(("family", "conv", "count"), TABLES)
def test_tables_have_every_module_once_and_its_block(family: str, conv: bool, count: int) -> None:
    table = module_table(family, conv)
    assert len(table) == len({module.key for module in table}) == count
    assert all(module.block == block_of_key(module.key, family) for module in table)
    assert {module.block for module in table} <= set(full_layout(family).names)
    assert all(find_module(module.key, family) == module for module in table)


def test_each_sd1_attention_block_has_twelve_modules() -> None:
    blocks = [module.block for module in module_table("sd1")]
    assert {block: blocks.count(block) for block in set(blocks)} == {"BASE": 72, **dict.fromkeys(SD1_ATTENTION, 12)}


def test_sdxl_blocks_have_their_depth() -> None:
    blocks = [module.block for module in module_table("sdxl")]
    counts = {block: blocks.count(block) for block in set(blocks)}
    deep = dict.fromkeys(["IN07", "IN08", "M00", "OUT00", "OUT01", "OUT02"], 102)
    shallow = dict.fromkeys(["IN04", "IN05", "OUT03", "OUT04", "OUT05"], 22)
    assert counts == {"BASE": 264, **deep, **shallow}


@pytest.mark.parametrize(
    ("family", "diffusers", "ldm"),
    [
        ("sd1", "conv_in", "input_blocks.0.0"),
        ("sd1", "conv_out", "out.2"),
        ("sd1", "conv_norm_out", "out.0"),
        ("sd1", "time_embedding.linear_2", "time_embed.2"),
        ("sd1", "down_blocks.1.resnets.0.conv_shortcut", "input_blocks.4.0.skip_connection"),
        ("sd1", "down_blocks.2.downsamplers.0.conv", "input_blocks.9.0.op"),
        ("sd1", "down_blocks.3.resnets.1.norm2", "input_blocks.11.0.out_layers.0"),
        ("sd1", "mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"),
        ("sd1", "mid_block.attentions.0.proj_in", "middle_block.1.proj_in"),
        ("sd1", "up_blocks.0.upsamplers.0.conv", "output_blocks.2.1.conv"),
        ("sd1", "up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
        ("sdxl", "up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
        ("sdxl", "add_embedding.linear_1", "label_emb.0.0"),
        ("sdxl", "down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
        ("sdxl", "up_blocks.2.resnets.2.conv1", "output_blocks.8.0.in_layers.2"),
        (
            "sdxl",
            "up_blocks.0.attentions.1.transformer_blocks.9.attn2.to_out.0.weight",
            "output_blocks.1.1.transformer_blocks.9.attn2.to_out.0.weight",
        ),
    ],
)
def test_paths_translate_both_ways(family: str, diffusers: str, ldm: str) -> None:
    assert to_ldm(diffusers, family) == ldm
    assert to_diffusers(ldm, family) == diffusers


def tiny_unet(family: str) -> UNet2DConditionModel:
    cross, plain = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
    down = [cross, cross, cross, plain] if family == "sd1" else [plain, cross, cross]
    return UNet2DConditionModel(
        block_out_channels=(8, 16, 32, 32)[: len(down)],
        down_block_types=[pair[0] for pair in down],
        up_block_types=[pair[1] for pair in reversed(down)],
        transformer_layers_per_block=1 if family == "sd1" else (1, 2, 10),
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=8,
    )


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_layer_of_a_diffusers_unet_has_an_ldm_name_and_a_key(family: str) -> None:
    with torch.device("meta"):
        unet = tiny_unet(family)
    paths = [path for path, module in unet.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
    assert all(to_diffusers(to_ldm(path, family), family) == path for path in paths)
    standard = {module.diffusers for module in module_table(family, conv=True) if module.part == "unet"}
    outside = {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
    assert set(paths) == standard | outside
    assert all(find_module("lora_unet_" + path.replace(".", "_"), family) for path in paths)
    kernels = {path for path in paths if getattr(unet.get_submodule(path), "kernel_size", ()) == (3, 3)}
    for path in paths:
        for spelling in (path, to_ldm(path, family)):
            assert is_3x3_key("lora_unet_" + spelling.replace(".", "_")) == (path in kernels), spelling


def test_strange_paths_are_refused() -> None:
    for path in ("", "conv", "down_blocks.7.resnets.0.conv1", "down_blocks.0.resnets.0.conv9"):
        with pytest.raises(InputError):
            to_ldm(path, "sd1")
    with pytest.raises(InputError):
        to_ldm("conv_in", "flux")


def test_text_modules_know_fused_weights() -> None:
    cases = (
        ("sd1", "lora_te", "3_mlp_fc1", "cond_stage_model.transformer.text_model.encoder.layers.3.mlp.fc1.weight"),
        ("sd2", "lora_te", "3_self_attn_k_proj", "cond_stage_model.model.transformer.resblocks.3.attn.in_proj_weight"),
        ("sdxl", "lora_te2", "31_mlp_fc2", "conditioner.embedders.1.model.transformer.resblocks.31.mlp.c_proj.weight"),
    )
    for family, encoder, leaf, weight in cases:
        found = find_module(f"{encoder}_text_model_encoder_layers_{leaf}", family)
        assert found is not None
        assert found.ldm == weight


def test_both_spellings_of_sdxl_mean_one_block() -> None:
    pairs = {
        "lora_unet_output_blocks_2_2_conv": "lora_unet_up_blocks_0_upsamplers_0_conv",
        "lora_unet_input_blocks_4_1_proj_in": "lora_unet_down_blocks_1_attentions_0_proj_in",
    }
    for ldm, diffusers in pairs.items():
        assert find_module(ldm, "sdxl") == find_module(diffusers, "sdxl")
        assert block_of_key(ldm, "sdxl") == block_of_key(diffusers, "sdxl")


@pytest.mark.parametrize(
    ("key", "family", "block"),
    [
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", "sd1", "BASE"),
        ("lora_te2_text_projection", "sdxl", "BASE"),
        ("lora_unet_time_embedding_linear_1", "sd1", "other"),
        ("lora_unet_conv_in", "sd1", "IN00"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "flux", "CLIP"),
        ("lora_unet_conv_in", "unknown", "other"),
        ("something", "sd1", "other"),
    ],
)
def test_blocks_of_keys_inside_and_outside_the_unet(key: str, family: str, block: str) -> None:
    assert block_of_key(key, family) == block


def shapes(key: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{key}.lora_up.weight": (320, 4), f"{key}.lora_down.weight": (4, width)}


@pytest.mark.parametrize(
    ("found", "family"),
    [
        (shapes("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 768), "sd1"),
        (shapes("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 128), "sd1"),
        (shapes("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 1024), "sd2"),
        (shapes("lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k", 2048), "sdxl"),
        (shapes("lora_unet_down_blocks_0_attentions_0_proj_in", 320), "sd1"),
        (shapes("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768), "sd1"),
        (shapes("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 1024), "sd2"),
        (shapes("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280), "sdxl"),
        (shapes("lora_unet_input_blocks_4_1_proj_in", 640), "sdxl"),
        (shapes("lora_unet_double_blocks_0_img_attn_qkv", 3072), "flux"),
        (shapes("lora_unet_joint_blocks_0_x_block_attn_qkv", 1536), "sd3"),
        ({"a.weight": (2, 2)}, "unknown"),
        ({}, "unknown"),
        ({"lora_unet_x_attn2_to_k.lokr_w1": (4, 8), "lora_unet_x_attn2_to_k.lokr_w2": (80, 96)}, "sd1"),
        ({"lora_unet_x_attn2_to_k.lokr_w1": (4, 16), "lora_unet_x_attn2_to_k.lokr_w2_b": (4, 128)}, "sdxl"),
    ],
)
def test_family_follows_from_names_and_shapes(found: dict[str, tuple[int, ...]], family: str) -> None:
    assert family_of(found) == family, json.dumps(found)

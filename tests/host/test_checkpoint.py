"""Loading: small random checkpoints in the shapes of SD1, SD2 and SDXL, written in LDM names."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lib_lora.errors import FileError, InputError
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.keys import text_to_ldm, to_ldm
from lib_lora.host.checkpoint import load_checkpoint
from lib_lora.host.diffusers_model import DiffusersModel
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


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_small_random_checkpoint_loads_with_every_tensor_in_its_place(tmp_path, family):
    path, unet, texts = write_checkpoint(tmp_path, family)
    loaded = load_checkpoint(path, tokenizer=TOKENIZER)
    assert loaded.family == family
    assert all(torch.equal(t, loaded.unet.state_dict()[n]) for n, t in unet.state_dict().items())
    for ours, theirs in zip(texts, loaded.text_encoders, strict=True):
        assert all(torch.equal(t, bare(theirs.state_dict())[n]) for n, t in bare(ours.state_dict()).items())
    model = DiffusersModel(loaded, device=torch.device("cpu"), dtype=torch.float32)
    latents, steps = torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    with torch.no_grad():
        cond = model.encode_text(["a red apple", "krnk"])
        out = model.predict(latents, steps, cond)
    assert out.shape == latents.shape
    assert torch.isfinite(out).all()
    assert (cond.pooled is not None) == (family == "sdxl")
    assert cond.tokens.shape[-1] == unet.config.cross_attention_dim


def test_sdxl_layers_are_found_under_both_spellings(tmp_path):
    path, _, _ = write_checkpoint(tmp_path, "sdxl")
    layers = DiffusersModel(
        load_checkpoint(path, tokenizer=TOKENIZER), device=torch.device("cpu"), dtype=torch.float32
    ).layers
    one = layers["lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"]
    assert one is layers["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"]
    assert "lora_te1_text_model_encoder_layers_0_mlp_fc1" in layers
    assert "lora_te2_text_model_encoder_layers_2_self_attn_out_proj" in layers


def test_text_paths_of_open_clip_point_at_thirds():
    target = text_to_ldm("text_model.encoder.layers.3.self_attn.k_proj", "sd2")
    assert (target.third, target.weight.endswith("in_proj_weight")) == (1, True)


@pytest.mark.parametrize(("mark", "kind"), [({"v_pred": torch.zeros(1)}, "v_prediction"), ({}, "epsilon")])
def test_v_prediction_is_known_by_its_mark(tmp_path, mark, kind):
    path, _, _ = write_checkpoint(tmp_path, "sd1", tensors=mark)
    assert load_checkpoint(path, tokenizer=TOKENIZER).prediction_type == kind


def test_an_inpainting_model_is_refused_by_name(tmp_path):
    first = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(64, 9, 3, 3)}
    path, _, _ = write_checkpoint(tmp_path, "sd1", tensors=first)
    with pytest.raises(FileError, match="inpainting"):
        load_checkpoint(path, tokenizer=TOKENIZER)


def test_a_missing_tensor_is_named(tmp_path):
    path, _, _ = write_checkpoint(tmp_path, "sd1", tensors={"model.diffusion_model.middle_block.1.norm.weight": None})
    with pytest.raises(FileError, match="missing"):
        load_checkpoint(path, tokenizer=TOKENIZER)


def test_a_lora_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "lora.safetensors"
    write_tensors(path, {"lora_unet_x.alpha": torch.ones(1)}, {})
    with pytest.raises(FileError, match="no Stable Diffusion UNet"):
        load_checkpoint(path)


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"x")
    with pytest.raises(FileError, match="safetensors"):
        load_checkpoint(path)


def test_without_a_word_list_the_cure_is_said(tmp_path, monkeypatch):
    path, _, _ = write_checkpoint(tmp_path, "sd1")
    monkeypatch.setattr("lib_lora.host.tokenizer._open_clip_list", lambda: None)
    monkeypatch.setattr("lib_lora.host.tokenizer.CLIP_NAME", "nobody/nothing-of-this-name")
    with pytest.raises(InputError, match="open-clip-torch"):
        load_checkpoint(path)


def test_the_config_beside_the_file_says_the_noise_schedule(tmp_path):
    path, _, _ = write_checkpoint(tmp_path, "sd1")
    said = "model: {params: {linear_start: 0.001, linear_end: 0.03}}"
    path.with_suffix(".yaml").write_text(said, encoding="utf-8")
    loaded = load_checkpoint(path, tokenizer=TOKENIZER)
    model = DiffusersModel(loaded, device=torch.device("cpu"), dtype=torch.float32)
    wanted = torch.cumprod(1 - torch.linspace(0.001**0.5, 0.03**0.5, 1000, dtype=torch.float64) ** 2, 0)
    assert torch.allclose(model.alphas_cumprod.double(), wanted, rtol=1e-3)
    path.with_suffix(".yaml").unlink()
    assert load_checkpoint(path, tokenizer=TOKENIZER).betas == (0.00085, 0.012)


def test_a_config_with_a_schedule_of_words_is_refused_in_a_sentence(tmp_path):
    path, _, _ = write_checkpoint(tmp_path, "sd1")
    said = "model: {params: {linear_start: low, linear_end: high}}"
    path.with_suffix(".yaml").write_text(said, encoding="utf-8")
    with pytest.raises(FileError, match="config cannot be read"):
        load_checkpoint(path, tokenizer=TOKENIZER)

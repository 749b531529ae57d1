"""Loading: small random checkpoints in the shapes of SD1, SD2 and SDXL, written in LDM names."""

from __future__ import annotations

import pytest
import torch

from lib_lora.errors import FileError, InputError
from lib_lora.formats.files import write_tensors
from lib_lora.host.studio.checkpoint import load_checkpoint
from lib_lora.host.studio.model import DiffusersModel
from tests.host.small_checkpoints import TOKENIZER, bare, write_checkpoint


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
    monkeypatch.setattr("lib_lora.host.studio.tokenizer._open_clip_list", lambda: None)
    monkeypatch.setattr("lib_lora.host.studio.tokenizer.CLIP_NAME", "nobody/nothing-of-this-name")
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

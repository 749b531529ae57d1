"""The host's live model as ours: its own layers under the names of files, its own numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lib_lora.errors import InputError
from lib_lora.formats.keys import module_table
from lib_lora.host.webui.kind import HostKind, detect, why_not
from lib_lora.host.webui.model import layers as named
from lib_lora.host.webui.model.live_model import NO_MODEL, current_model, loaded_model
from tests.webui.fakes.tiny_model import SdModel
from tests.webui.fakes.training import Autoencoder


def test_every_layer_of_a_standard_file_is_the_hosts_own(a1111: Any) -> None:
    model = current_model()
    assert model is not None
    unet = [module for module in module_table("sd1", conv=True) if module.part == "unet"]
    there = [module for module in unet if module.key in model.layers]
    assert len(there) > 192
    for module in there:
        assert model.layers[module.key] is a1111.sd_model.model.diffusion_model.get_submodule(module.ldm)
    text = a1111.sd_model.cond_stage_model.wrapped.transformer.text_model
    q_proj = text.encoder.layers[1].self_attn.q_proj
    assert model.layers["lora_te_text_model_encoder_layers_1_self_attn_q_proj"] is q_proj


def test_the_same_model_is_the_same_object_until_the_host_changes_it(a1111: Any) -> None:
    first = current_model()
    assert current_model() is first
    a1111.sd_model.sd_checkpoint_info.filename = "other.safetensors"  # the host puts new weights into old objects
    second = current_model()
    assert second is not first
    a1111.load_model(SdModel())
    assert current_model() not in (first, second)


def test_looking_at_the_model_never_loads_one(forge: Any) -> None:
    assert current_model() is None
    assert type(forge.sd_model).__name__ == "FakeInitialModel"
    assert (NO_MODEL.family, NO_MODEL.name, dict(NO_MODEL.layers)) == ("sd1", "", {})
    with pytest.raises(InputError, match="no checkpoint loaded"):
        NO_MODEL.encode_text(["a"])


def test_work_that_needs_a_model_has_the_host_load_one(a1111: Any) -> None:
    a1111.sd_model = None
    assert current_model() is None
    assert loaded_model().host.live is a1111.sd_model


def test_captions_are_encoded_word_for_word_by_the_hosts_own_encoder(a1111: Any) -> None:
    encoder = a1111.sd_model.cond_stage_model
    made = current_model().encode_text(["a red (apple)", ""])
    words = encoder.tokenize(["a red (apple)"])[0]
    assert len(words) == 3
    ids = torch.tensor([[0, *words, *[0] * (77 - 1 - len(words))], [0] * 77])  # the fake's start and end are 0
    assert torch.equal(made.tokens, encoder.wrapped.transformer(ids).last_hidden_state)
    skipped = encoder.wrapped.transformer(ids).hidden_states[-2]
    normalized = encoder.wrapped.transformer.text_model.final_layer_norm(skipped)
    assert torch.equal(current_model().encode_text(["a red (apple)", ""], clip_skip=2).tokens, normalized)
    assert made.pooled is None


def test_a_long_caption_takes_a_second_chunk_and_gradients_pass(a1111: Any) -> None:
    model = current_model()
    made = model.encode_text([" ".join(f"w{n}" for n in range(80)), "short"])
    assert made.tokens.shape == (2, 2 * 77, 8)
    layer = model.layers["lora_te_text_model_encoder_layers_0_mlp_fc1"]
    layer.weight.requires_grad_(True)
    # Not the plain sum: the encoder ends in a layer norm, whose outputs always sum up to the same.
    direction = torch.linspace(-1, 1, 77 * 8).reshape(1, 77, 8)

    def measure() -> torch.Tensor:
        return (model.encode_text(["short"]).tokens * direction).sum()

    measure().backward()
    way = layer.weight.grad / layer.weight.grad.norm()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            layer.weight += sign * 1e-2 * way
            ends.append(measure())
            layer.weight -= sign * 1e-2 * way
    assert ((ends[0] - ends[1]) / 2e-2).item() == pytest.approx(layer.weight.grad.norm().item(), rel=0.05)


def test_predictions_are_the_hosts_own(a1111: Any) -> None:
    model = current_model()
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    cond = model.encode_text(["a", "b"])
    theirs = a1111.sd_model.apply_model(x, t, {"c_crossattn": [cond.tokens]})
    assert torch.equal(model.predict(x, t, cond), theirs)


def test_an_autoencoder_that_overflows_in_16_bits_encodes_in_32_and_stays_16(a1111: Any) -> None:
    a1111.sd_model.first_stage_model = vae = Autoencoder(overflow=True).to(torch.bfloat16).requires_grad_(False)
    before = [parameter.clone() for parameter in vae.parameters()]
    latents = current_model().encode_images(torch.rand(1, 3, 16, 16) * 2 - 1)
    assert torch.isfinite(latents).all()
    assert latents.shape == (1, 4, 2, 2)
    assert all(torch.equal(a, b) and a.dtype is b.dtype for a, b in zip(before, vae.parameters(), strict=True))


@pytest.mark.parametrize(("flag", "family"), [("is_sd3", "sd3"), ("none", "unknown")])
def test_a_model_of_another_family_has_no_layers_and_says_so(a1111: Any, flag: str, family: str) -> None:
    other = SdModel()
    other.is_sd1 = False
    setattr(other, flag, True)
    a1111.sd_model = other
    model = current_model()
    assert (model.family, dict(model.layers)) == (family, {})


def test_kinds_are_told_by_what_they_have(a1111: Any) -> None:
    assert detect() is HostKind.A1111
    assert not why_not(HostKind.A1111, "train")
    assert "reForge" in why_not(HostKind.REFORGE, "train")


def test_forge_is_told_by_its_backend(forge: Any) -> None:
    assert detect() is HostKind.FORGE


def test_reforge_and_classic_are_told_apart(reforge: Any) -> None:
    assert detect() is HostKind.REFORGE


def test_classic_has_no_schedulers(classic: Any) -> None:
    assert detect() is HostKind.CLASSIC


# -- OpenCLIP, as SD2 and SDXL have it ----------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 2)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 2 * width))
        self.mlp.add_module("c_proj", nn.Linear(2 * width, width))


def open_clip(blocks: int = 3, width: int = 8) -> nn.Module:
    top = nn.Module()
    top.transformer = nn.Module()
    top.transformer.resblocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
    return top


def test_open_clip_has_the_keys_of_a_file_but_for_blocks_that_take_no_part() -> None:
    found = named.open_clip_layers(open_clip(), "lora_te_", unused=1)
    leaves = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2")
    assert set(found) == {f"lora_te_text_model_encoder_layers_{n}_{leaf}" for n in (0, 1) for leaf in leaves}
    q = found["lora_te_text_model_encoder_layers_1_self_attn_q_proj"]
    assert (q.in_features, q.out_features, tuple(q.weight.shape)) == (8, 8, (8, 8))


def test_split_attention_is_the_fused_one_and_its_parts_are_heard() -> None:
    torch.manual_seed(0)
    top = open_clip(blocks=1)
    attention = top.transformer.resblocks[0].attn
    found = named.open_clip_layers(top, "lora_te_", unused=0)
    ((fused, slices),) = named.fused_attentions(found)
    assert fused is attention
    x = torch.randn(5, 2, 8)
    mask = torch.full((5, 5), -torch.inf).triu(1)
    expected = attention(x, x, x, need_weights=False, attn_mask=mask)[0]
    split = named.split_forward(attention, slices)
    assert torch.allclose(split(x, x, x, need_weights=False, attn_mask=mask)[0], expected, atol=1e-6)
    slices[2].register_forward_hook(lambda layer, inputs, output: output + 1)
    assert not torch.allclose(split(x, x, x, attn_mask=mask)[0], expected, atol=1e-3)


def test_a_part_of_a_fused_attention_follows_its_weight_wherever_the_host_moves_it() -> None:
    attention = nn.MultiheadAttention(4, 2)
    third = named.FusedQkvSlice(attention, 1)
    attention.in_proj_weight.data = attention.in_proj_weight.data.double() + 1
    assert torch.equal(third.weight, attention.in_proj_weight.detach()[4:8])
    assert not list(third.parameters())


def test_sizes_of_sdxl_are_six_numbers_in_waves() -> None:
    made = named.size_embedding(torch.tensor([[1024, 768, 0, 0, 1024, 768], [900, 600, 3, 5, 832, 1216]]))
    assert made.shape == (2, 6 * 256)
    rows = made[0].reshape(6, 256)
    assert torch.equal(rows[2], torch.cat([torch.ones(128), torch.zeros(128)]))  # crop at 0
    assert torch.equal(rows[0], rows[4])
    assert rows[1, 0] == torch.tensor(768.0).cos()

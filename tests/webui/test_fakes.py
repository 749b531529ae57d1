"""The fakes behave as their hosts do where our adapter relies on it, and leave the process as it was."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from tests.webui.fakes.tiny_model import WIDTH

QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def small_lora(seed: int = 0) -> LoraFile:
    generator = torch.Generator().manual_seed(seed)
    parts = {key: [torch.randn(s, generator=generator) for s in ((WIDTH, 2), (2, WIDTH))] for key in (QUERY, TEXT)}
    return LoraFile({key: LoraAdapter(key, up, down, None, 2.0) for key, (up, down) in parts.items()})


def test_fake_a1111_merges_at_forward_time_and_restores_at_the_next_forward(a1111):
    a1111.add_lora("one", small_lora())
    layer = a1111.sd_model.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn1.to_q
    before = layer.weight.clone()
    plain = a1111.txt2img("cat").images[0].tobytes()
    assert a1111.txt2img("cat <lora:one:1>").images[0].tobytes() != plain
    assert not torch.equal(layer.weight, before)  # the residue of the last picture
    a1111.modules.networks.load_networks([])
    assert not torch.equal(layer.weight, before)
    assert a1111.txt2img("cat").images[0].tobytes() == plain
    assert torch.equal(layer.weight, before)


def test_fake_conditioning_is_cached_until_tags_or_words_change(a1111):
    a1111.add_lora("one", small_lora())
    encoder = a1111.sd_model.cond_stage_model
    a1111.txt2img("cat <lora:one:1>")
    calls = encoder.calls
    a1111.txt2img("cat <lora:one:1>")
    assert encoder.calls == calls
    a1111.txt2img("cat <lora:one:0.5>")
    assert encoder.calls > calls


def test_fake_host_leaves_no_module_and_no_patch_behind(tmp_path):
    from tests.webui.fakes.a1111 import A1111

    before, forward = set(sys.modules), nn.Linear.forward
    with A1111(tmp_path).installed():
        assert nn.Linear.forward is not forward
        assert "modules.shared" in sys.modules
    assert nn.Linear.forward is forward
    assert {name for name in set(sys.modules) - before if name.split(".")[0] in ("modules", "networks")} == set()


def test_fake_second_order_sampler_asks_twice_a_step_but_for_the_last(a1111):
    steps = []
    a1111.modules.script_callbacks.on_cfg_denoiser(lambda params: steps.append(params.denoiser.step))
    a1111.txt2img("cat", sampler_name="Heun", steps=3)
    assert steps == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["forge", "neo", "reforge", "classic"])
def test_fake_family_merges_patches_and_takes_them_back(kind, request):
    host = request.getfixturevalue(kind)
    host.add_lora("one", small_lora())
    plain = host.txt2img("cat").images[0].tobytes()
    changed = host.txt2img("cat <lora:one:1>").images[0].tobytes()
    assert changed != plain
    assert host.txt2img("cat <lora:one:0.5>").images[0].tobytes() not in (plain, changed)
    assert host.txt2img("cat <lora:one:1>").images[0].tobytes() == changed
    assert host.txt2img("cat").images[0].tobytes() == plain
    assert host.extra_networks.printed == []


def test_fake_forge_has_inference_tensors_and_no_linear_of_torch(forge):
    forge.txt2img("cat")
    unet = forge.sd_model.forge_objects.unet.model.diffusion_model
    assert all(parameter.is_inference() for parameter in unet.parameters())
    assert not any(isinstance(layer, nn.Linear) for layer in unet.modules())


def test_fake_patchers_have_the_parts_of_their_hosts(reforge, classic):
    for host, size in ((reforge, 5), (classic, 3)):
        host.add_lora("one", small_lora())
        host.load_model()
        host.txt2img("cat <lora:one:1>")
        rows = host.sd_model.forge_objects_after_applying_lora.unet.patches.values()
        assert {len(row) for each in rows for row in each} == {size}

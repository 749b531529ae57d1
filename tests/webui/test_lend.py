"""The host's model, lent to a training, comes back byte for byte; what cannot be trained is refused in a sentence."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.host.webui.model.live_model import current_model
from lib_lora.host.webui.session.queue_lock import QueueLock
from lib_lora.host.webui.session.training import lent, training_slice
from lib_lora.live.attach import attach
from tests.webui.fakes.training import ready_for_training, trace

KEY = "lora_unet_mid_block_attentions_0_proj_in"


def a_lora(model: Any, *, requires_grad: bool = True) -> LoraFile:
    """Return a LoRA on one layer of the UNet and one of the text encoder that changes both."""
    adapters = {}
    for key in (KEY, "lora_te_text_model_encoder_layers_0_mlp_fc1"):
        made = LoraAdapter.new(key, model.layers[key], rank=2, alpha=2, generator=torch.Generator().manual_seed(1))
        up = torch.ones_like(made.up) * 0.1
        tensors = [up.requires_grad_(requires_grad), made.down.detach().requires_grad_(requires_grad)]
        adapters[key] = made.with_parameters(tensors)
    return LoraFile(adapters=adapters, metadata={}, extras={}, path=None)


def a_step(model: Any) -> LoraFile:
    """Make one forward and backward pass with a LoRA on the lent model."""
    lora = a_lora(model)
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([400])
    with attach(model, lora, 1.0, strategy="factors"):
        cond = model.encode_text(["a red apple"])
        model.predict(x, t, cond).pow(2).mean().backward()
    return lora


def test_gradients_reach_the_lora_and_no_weight_of_the_host(a1111: Any) -> None:
    with ready_for_training(a1111) as host:
        model = current_model()
        host.model.model.requires_grad_(True)  # as the host's own UNet has it
        with lent(model, trains_text=True):
            lora = a_step(model)
            assert all(p.grad is None for p in host.model.parameters())
        for adapter in lora.adapters.values():
            assert all(p.grad.abs().sum() > 0 for p in adapter.parameters())


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back_after_success_and_after_an_error(a1111: Any, fails: bool) -> None:
    with ready_for_training(a1111) as host:
        model = current_model()
        unet = host.model.model.diffusion_model
        unet.requires_grad_(True)
        unet.middle_block[1].transformer_blocks[0].checkpoint = True
        unet.out.train()
        before, forwards = trace(host.model), [user.forward for user in host.users]
        torch.manual_seed(5), random.seed(5), np.random.seed(5)
        drawn = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
        cached = a1111.modules.processing.StableDiffusionProcessing.cached_c
        kept = list(cached)
        try:
            with lent(model, trains_text=True):
                assert not unet.out.training
                assert not unet.middle_block[1].transformer_blocks[0].checkpoint
                assert [user().forward() for user in host.users] == ["PyTorch's"] * 4
                assert not host.hijack.circular_enabled
                a1111.modules.processing.StableDiffusionProcessing.cached_c[1] = "of the LoRA"
                a_step(model)
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert fails
        assert trace(host.model) == before
        assert [user.forward for user in host.users] == forwards
        assert host.hijack.circular_enabled
        assert a1111.modules.processing.StableDiffusionProcessing.cached_c is cached
        assert [each is old for each, old in zip(cached, kept, strict=True)] == [True, True]
        after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
        assert torch.equal(after[0], drawn[0])
        assert after[1:] == drawn[1:]
        assert model.before_use is None


def test_the_last_prompts_lora_is_out_of_the_weights_before_the_training(a1111: Any) -> None:
    with ready_for_training(a1111) as host:
        model = current_model()
        clean = {name: p.clone() for name, p in host.model.model.named_parameters()}
        a1111.add_lora("left", a_lora(model, requires_grad=False))
        a1111.txt2img("x <lora:left:1>")
        weight = dict(host.model.model.named_parameters())
        assert any(not torch.equal(weight[name], clean[name]) for name in clean)
        with lent(model, trains_text=False):
            assert all(torch.equal(weight[name], clean[name]) for name in clean)
            assert not a1111.networks.loaded_networks


def test_a_tag_in_a_samples_prompt_does_not_stay_for_the_next_step(a1111: Any) -> None:
    with ready_for_training(a1111) as host:
        model = current_model()
        a1111.add_lora("left", a_lora(model, requires_grad=False))
        clean = {name: p.clone() for name, p in host.model.model.named_parameters()}
        with lent(model, trains_text=False):
            a1111.txt2img("x <lora:left:1>")
            assert a1111.networks.loaded_networks
            a_step(model)
            after = dict(host.model.model.named_parameters())
            assert all(torch.equal(after[name], clean[name]) for name in clean)


def test_hypernetworks_of_the_last_prompt_are_unloaded(a1111: Any) -> None:
    with ready_for_training(a1111) as host:
        host.hypernetworks.append("one")
        with lent(current_model(), trains_text=False):
            assert host.hypernetworks == []


def test_a_model_that_the_host_switched_is_not_trained_on(a1111: Any) -> None:
    with ready_for_training(a1111):
        model = current_model()
        with lent(model, trains_text=False):
            a1111.sd_model.sd_checkpoint_info.filename = "other.safetensors"
            with pytest.raises(AtelierError, match="switched or unloaded"):
                model.predict(torch.randn(1, 4, 8, 8), torch.tensor([1]), None)


def no_text(host: SimpleNamespace, fake: Any) -> None:
    del host.model.cond_stage_model.wrapped


def low_vram(host: SimpleNamespace, fake: Any) -> None:
    host.model.lowvram = fake.cmd_opts.lowvram = True


def medium_vram(host: SimpleNamespace, fake: Any) -> None:
    host.model.lowvram = fake.cmd_opts.medvram = True


def inpainting(host: SimpleNamespace, fake: Any) -> None:
    host.model.model.diffusion_model.input_blocks[0][0] = nn.Conv2d(9, 8, 3, padding=1)


def instructed(host: SimpleNamespace, fake: Any) -> None:
    host.model.model.diffusion_model.input_blocks[0][0] = nn.Conv2d(8, 8, 3, padding=1)


def half(host: SimpleNamespace, fake: Any) -> None:
    host.model.model.half()


def eight_bits(host: SimpleNamespace, fake: Any) -> None:
    fake.modules.devices.fp8 = True


def another_unet(host: SimpleNamespace, fake: Any) -> None:
    host.unets.current_unet = object()


def controlled(host: SimpleNamespace, fake: Any) -> None:
    host.model.model.diffusion_model.forward = lambda *a, **k: None


def hypernetwork(host: SimpleNamespace, fake: Any) -> None:
    fake.opts.data["sd_hypernetwork"] = "style"


def reduced(host: SimpleNamespace, fake: Any) -> None:
    host.model.is_ssd = True


def sd3(host: SimpleNamespace, fake: Any) -> None:
    host.model.is_sd3 = True


@pytest.mark.parametrize(
    ("setup", "sentence"),
    [
        (sd3, "kind sd3"),
        (inpainting, "for inpainting"),
        (instructed, "for instruct-pix2pix"),
        (reduced, "SSD-1B"),
        (no_text, "text encoder"),
        (low_vram, "--lowvram"),
        (medium_vram, "only the UNet"),
        (half, "16-bit"),
        (eight_bits, "8 bits"),
        (another_unet, "Another UNet"),
        (controlled, "Another extension"),
        (hypernetwork, "hypernetwork"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_cannot_be_trained_is_refused_before_anything_is_touched(a1111: Any, setup: Any, sentence: str) -> None:
    with ready_for_training(a1111) as host:
        setup(host, a1111)
        before = trace(host.model)
        forwards = [user.forward for user in host.users]
        with pytest.raises(InputError, match=sentence) as refused, lent(current_model(), trains_text=True):
            pytest.fail("it was lent")
        assert refused.value.cure
        assert trace(host.model) == before
        assert [user.forward for user in host.users] == forwards


def test_with_medvram_the_unet_alone_can_be_trained(a1111: Any) -> None:
    with ready_for_training(a1111) as host:
        medium_vram(host, a1111)
        moved = []
        host.model.model.register_forward_pre_hook(lambda part, inputs: moved.append("unet"))
        host.model.first_stage_model.register_forward_pre_hook(lambda part, inputs: moved.append("vae"))
        model = current_model()
        with lent(model, trains_text=False):
            model.encode_images(torch.rand(1, 3, 16, 16))
            with torch.no_grad():
                cond = model.encode_text(["a"])
            model.predict(torch.randn(1, 4, 8, 8), torch.tensor([1]), cond)
        assert moved == ["vae", "unet"]  # each by the host's own hook, in its turn


def test_reforge_is_refused_in_one_sentence(reforge: Any) -> None:
    with pytest.raises(InputError, match="reForge cannot train"), training_slice(QueueLock(), "x", trains_text=False):
        pytest.fail("it was lent")
    assert reforge.queue_lock.acquire(blocking=False)

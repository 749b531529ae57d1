"""Forge's model, lent to a training: weights that autograd may keep, norms that keep their input, all put back."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.host.webui.model import forge as ours
from lib_lora.host.webui.model.live_model import current_model
from lib_lora.host.webui.session.queue_lock import QueueLock
from lib_lora.host.webui.session.training import check_training, lent, training_slice
from lib_lora.live.attach import attach

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def a_lora(model: Any, *, requires_grad: bool = True) -> LoraFile:
    made = LoraAdapter.new(KEY, model.layers[KEY], rank=2, alpha=2, generator=torch.Generator().manual_seed(1))
    up = torch.ones_like(made.up) * 0.1
    tensors = [up.requires_grad_(requires_grad), made.down.detach().requires_grad_(requires_grad)]
    return LoraFile(adapters={KEY: made.with_parameters(tensors)}, metadata={}, extras={}, path=None)


def values(model: Any) -> dict[str, bytes]:
    return {name: p.detach().numpy().tobytes() for name, p in model.host.unet.named_parameters()}


@pytest.fixture(params=["forge", "neo"])
def host(request: pytest.FixtureRequest) -> Any:
    """Either of the two that training knows."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def model(host: Any) -> Any:
    host.txt2img("loads the model")
    return current_model()


def test_gradients_pass_through_weights_that_were_made_in_inference_mode(host: Any, model: Any) -> None:
    assert all(p.is_inference() for p in model.host.unet.parameters())
    before = values(model)
    with lent(model, trains_text=False):
        lora = a_lora(model)
        with attach(model, lora, 1.0, strategy="factors"):
            with torch.no_grad():
                cond = model.encode_text(["a"])
            model.predict(torch.randn(1, 4, 8, 8), torch.tensor([400]), cond).pow(2).mean().backward()
        assert all(p.grad.abs().sum() > 0 for p in lora.adapters[KEY].parameters())
    assert values(model) == before


def test_hooks_and_attention_are_put_back_and_the_picture_is_the_same(host: Any, model: Any) -> None:
    import backend.nn.unet as their_unet

    chosen, before = their_unet.attention_function, host.txt2img("x").images[0].tobytes()
    with contextlib.suppress(KeyError), lent(model, trains_text=False):
        assert their_unet.attention_function() == "pytorch"
        assert sum(len(part._forward_pre_hooks) for part in model.host.unet.modules()) == 16 * 3
        raise KeyError
    assert their_unet.attention_function is chosen
    assert not any(part._forward_pre_hooks for part in model.host.unet.modules())
    assert host.txt2img("x").images[0].tobytes() == before


def test_the_last_prompts_lora_is_out_of_the_weights(host: Any, model: Any) -> None:
    before = values(model)
    host.add_lora("left", a_lora(model, requires_grad=False))
    host.txt2img("x <lora:left:1>")
    assert values(model) != before
    with lent(model, trains_text=False):
        assert values(model) == before
        host.txt2img("x <lora:left:1>")  # a tag in a sample's prompt
        with torch.no_grad():
            model.predict(torch.randn(1, 4, 8, 8), torch.tensor([1]), model.encode_text(["a"]))
        assert values(model) == before
    assert values(model) == before


def test_weights_that_two_parts_share_stay_shared_and_keep_their_bytes() -> None:
    with torch.inference_mode():
        one, two = nn.Linear(3, 3), nn.Linear(3, 3)
        two.weight = one.weight
    both = nn.ModuleList([one, two])
    before = one.weight.clone()
    ours.make_trainable(both)
    assert one.weight is two.weight
    assert torch.equal(one.weight, before)
    assert not any(p.is_inference() or p.requires_grad for p in both.parameters())
    x = torch.randn(2, 3, requires_grad=True)
    both[1](both[0](x)).sum().backward()
    assert x.grad is not None


def test_a_block_that_adds_in_place_can_be_trained_through() -> None:
    norm = nn.LayerNorm(4)

    def block(x: torch.Tensor) -> torch.Tensor:
        x = x * 1.0
        n = norm(x)
        x += n
        return x

    x = torch.randn(2, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="inplace"):
        block(x).sum().backward()
    norm.register_forward_pre_hook(ours._apart)
    block(x).pow(2).sum().backward()
    other = x.detach().clone().requires_grad_()
    (other + nn.functional.layer_norm(other, (4,), norm.weight, norm.bias, norm.eps)).pow(2).sum().backward()
    assert torch.allclose(x.grad, other.grad)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda engine: setattr(engine.forge_objects_original.unet.model, "storage_dtype", "nf4"), "8 bits or less"),
        (lambda engine: setattr(engine.forge_objects_original.unet.model, "computation_dtype", torch.half), "16-bit"),
        (lambda engine: setattr(engine.forge_objects_original.unet.model.predictor, "prediction_type", "edm"), "edm"),
        (lambda engine: setattr(engine, "is_sd1", False), "kind unknown"),
    ],
    ids=["storage", "half on the CPU", "prediction", "family"],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(host: Any, change: Any, sentence: str) -> None:
    host.load_model()
    change(host.sd_model)
    with pytest.raises(InputError, match=sentence):
        check_training(trains_text=False)


def test_before_a_model_is_loaded_nothing_is_refused_and_a_slice_loads_it(host: Any) -> None:
    check_training(trains_text=False)
    host.modules.sd_models.forge_model_reload = host.load_model
    with training_slice(QueueLock(), "x", trains_text=False) as lease:
        assert not lease.lost
        assert current_model() is not None

"""Every kind that is trained: begins and learns as LyCORIS' own, and what is trained is what is saved and applied."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.ia3 import Ia3Adapter
from lib_lora.formats.adapters.lokr import split
from lib_lora.formats.files import read_tensors
from lib_lora.formats.lora import read_lora
from lib_lora.live.attach import attach
from lib_lora.progress import Progress, Stoppable
from lib_lora.train import network
from lib_lora.train.estimate import memory_needed
from lib_lora.train.loop import run
from lib_lora.train.network.build import KINDS
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.conftest import same

LIBRARY = Path(__file__).parents[1] / "formats" / "library_cases" / "lycoris_training.safetensors"
TENSORS, _ = read_tensors(LIBRARY)
CASES = sorted({name.partition("|")[0] for name in TENSORS})
CHOICES = [{"network": kind, "dora": dora} for kind in KINDS for dora in (False, True)]


def named(choice: dict[str, object]) -> str:
    return f"{choice['network']}{'-dora' if choice['dora'] else ''}"


def parts_of(case: str) -> dict[str, torch.Tensor]:
    return {name.partition("|")[2]: tensor for name, tensor in TENSORS.items() if name.startswith(f"{case}|")}


def layer_like(weight: torch.Tensor) -> nn.Module:
    if weight.ndim == 4:
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], padding=1, bias=False)
    else:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradients_are_lycoris_own(case):
    parts = parts_of(case)
    own = {name: t for name, t in parts.items() if not name.startswith(("start.", "grad.", "base.")) and len(name) > 1}
    leaves = {name: t.clone().requires_grad_(name != "alpha") for name, t in own.items()}
    adapter, layer = read_adapter("lora_unet_x", leaves), layer_like(parts["base.weight"])
    y = adapter.apply(parts["x"], layer)
    torch.testing.assert_close(y, parts["y"], rtol=1e-4, atol=1e-5)
    y.square().mean().backward()
    grads = {name: t for name, t in parts.items() if name.startswith("grad.")}
    assert len(grads) >= 2
    for name, grad in grads.items():
        torch.testing.assert_close(leaves[name.removeprefix("grad.")].grad, grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if any("start." in name for name in parts_of(case))])
def test_a_fresh_adapter_begins_as_lycoris_own(case):
    *wd, kind, form = case.split()
    torch.manual_seed(7)
    layer = nn.Conv2d(48, 60, 3, padding=1) if form == "conv" else nn.Linear(48, 60)
    made = KINDS[kind].new("lora_unet_x", layer, rank=4, alpha=2.0, generator=torch.Generator().manual_seed(1))
    made = DoraAdapter.around(made, layer.weight) if wd else made
    start_of = {n.removeprefix("start."): t for n, t in parts_of(case).items() if n.startswith("start.")}
    ours = {name: tensor for name, tensor in made.tensors().items() if name != "alpha"}
    assert ours.keys() == start_of.keys()
    for name, facts in start_of.items():
        *shape, mean, spread, largest = facts.tolist()
        assert list(ours[name].shape) == shape
        assert ours[name].abs().max().item() == pytest.approx(largest, rel=0.35)
        assert ours[name].std().item() == pytest.approx(spread, rel=0.5 if ours[name].numel() < 100 else 0.2)
        assert ours[name].mean().item() == pytest.approx(mean, abs=0.1 if name.endswith("scale") else 0.6 * largest)
    assert all(p.requires_grad and p.is_leaf for p in made.parameters())
    assert made.delta(layer.weight).abs().max() < 1e-6


@pytest.mark.parametrize("side", [1, 7, 12, 48, 127, 128, 250, 320, 360, 512, 768, 1024, 1280])
def test_sides_are_split_as_even_as_they_can_be(side):
    small, large = split(side)
    assert small * large == side
    assert not any(side % n == 0 for n in range(small + 1, math.isqrt(side) + 1))
    assert split(360, 16) == (15, 24)
    assert (split(250, 4), split(1024, 8), split(128, 64)) == ((2, 125), (8, 128), (2, 64))


class StopAfter(Stoppable):
    """Asks to stop once a number of steps is done."""

    def update(self, done: int, total: int, text: str = "") -> None:
        if text.startswith("loss"):
            self.stop()


def trained(model, options, path, progress=None):
    folder = RunFolder.open(path) if (path / "options.json").exists() else RunFolder.create(path, options)
    training = start(model, options, folder, Progress())
    return training, run(training, progress or Progress())


def predicted(model, lora, strategy="factors", strength=1.0):
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), attach(model, lora, strength, strategy=strategy):
        return model.predict(latents, torch.tensor([400]), model.encode_text(["krnk"], 1))


@pytest.mark.parametrize("choice", CHOICES, ids=named)
def test_each_kind_learns_goes_on_to_the_bit_and_is_saved_as_it_is_live_and_baked(model, options_for, tmp_path, choice):
    usual = {"steps": 2, "optimizer": "AdamW", "learning_rate": 1e-2, "conv_dim": 2, "train_blocks": "BASE,IN04-OUT01"}
    options = options_for(**usual, **choice, text_encoder_ratio=0.5 if choice["dora"] else 0)
    whole, result = trained(model, options, tmp_path / "whole")
    assert math.isfinite(result.loss)
    first, _ = trained(model, options, tmp_path / "parts", StopAfter())
    second, _ = trained(model, options, tmp_path / "parts")
    assert (first.step, second.step) == (1, 2)
    ways = (network.parameters_of(one.lora) for one in (whole, second))
    for (name, one), two in zip(next(ways).items(), next(ways).values(), strict=True):
        assert same(one, two), name
    saved = read_lora(result.lora)
    assert saved.adapters.keys() == whole.lora.adapters.keys()
    assert all(type(saved.adapters[key]) is type(one) for key, one in whole.lora.adapters.items())
    live = predicted(model, saved)
    assert (live - predicted(model, saved, strength=0.0)).abs().max() > 1e-3
    torch.testing.assert_close(predicted(model, saved, "folded"), live, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(predicted(model, whole.lora), live, rtol=1e-2, atol=1e-2)  # the file is fp16
    for key, adapter in whole.lora.adapters.items():
        assert adapter.delta(model.layers[key].weight).norm() > 0, key
    is_lycoris = choice["network"] in ("loha", "lokr") or choice["dora"]
    assert (saved.metadata["ss_network_module"] == "lycoris.kohya") == is_lycoris


@pytest.mark.parametrize("choice", CHOICES, ids=named)
def test_the_plan_counts_the_numbers_that_are_trained(model, options_for, choice):
    options = options_for(**choice, conv_dim=3)
    made = network.new_lora(model, options)
    numbers = sum(p.numel() for adapter in made.adapters.values() for p in adapter.parameters())
    assert network.trained_numbers(model, options) == numbers
    assert memory_needed(model, options) > 4 * numbers


def test_without_a_conv_dim_convolutions_are_left_out(model, options_for):
    made = network.new_lora(model, options_for(network="loha", conv_dim=0))
    assert len(made.adapters) == 192 + 18
    assert len(network.new_lora(model, options_for(network="loha")).adapters) > 192 + 18


def test_a_dora_keeps_a_length_for_each_input(model, options_for):
    """A1111 applies no other axis."""
    made = network.new_lora(model, options_for(dora=True, text_encoder_ratio=0))
    for key, adapter in made.adapters.items():
        weight = model.layers[key].weight
        assert tuple(adapter.dora_scale.shape) == (1, weight.shape[1], *[1] * (weight.ndim - 2))
        torch.testing.assert_close(adapter.dora_scale.flatten()[0], weight[:, 0].float().norm())


def test_a_kind_that_is_not_trained_says_so():
    with pytest.raises(InputError, match=r"cannot be trained here.*loha"):
        Ia3Adapter.new("x", nn.Linear(2, 2), rank=1, alpha=1.0)

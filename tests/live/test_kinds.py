"""Every kind on a live model: weight and bias become what its own formula says, by either strategy, and come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from lib_lora.formats.adapters import Adapter, read_adapter
from lib_lora.formats.lora import LoraFile
from lib_lora.live.attach import attach
from lib_lora.live.swap import Swap
from lib_lora.merge.difference import as_differences
from tests.live.test_attach import fingerprint, graded, predict

PLACES = (
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
    "lora_unet_mid_block_resnets_0_conv1",
    "lora_unet_up_blocks_2_attentions_1_transformer_blocks_0_ff_net_2",
)
NORMS = ("lora_unet_down_blocks_0_resnets_0_norm1", "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_norm2")

Parts = dict[str, Tensor]


def _lora(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    rows, columns, *kernel = layer.weight.shape
    up = random(rows, 2, *[1 for _ in kernel])
    return {"lora_up.weight": up, "lora_down.weight": random(2, columns, *kernel), "alpha": torch.tensor(1.0)}


def _dora(axis: int) -> Callable[[nn.Module, Callable[..., Tensor]], Parts]:
    def parts(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
        shape = [side if number == axis else 1 for number, side in enumerate(layer.weight.shape)]
        return {**_lora(layer, random), "dora_scale": 1 + random(*shape)}

    return parts


def _ia3(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"weight": random(layer.weight.shape[0]), "on_input": torch.tensor(0)}


def _oft(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"oft_blocks": random(layer.weight.shape[0] // 4, 4, 4), "alpha": torch.tensor(0.0)}


def _boft(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"oft_blocks": random(2, layer.weight.shape[0] // 4, 4, 4)}


def _oft_v2(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"oft_R.weight": random(layer.weight[0].numel() // 4, 6)}


def _glora(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    rows, columns, *kernel = layer.weight.shape
    ones = [1 for _ in kernel]
    shapes = ((columns, 2, *ones), (2, columns, *ones), (rows, 2, *ones), (2, columns, *kernel))
    return {f"{name}.weight": random(*shape) for name, shape in zip(("a1", "a2", "b1", "b2"), shapes, strict=True)}


def _full(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"diff": random(*layer.weight.shape), "diff_b": random(layer.weight.shape[0])}


def _bias(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"diff_b": random(layer.weight.shape[0])}


def _norm(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"w_norm": random(*layer.weight.shape), "b_norm": random(*layer.weight.shape)}


def _tlora(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    rows, columns = layer.weight.shape[:2]
    return {"q_layer.weight": random(2, columns), "p_layer.weight": random(rows, 2), "lambda_layer": 1 + random(1, 2)}


def _peft_boft(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"boft_R": random(2, layer.weight[0].numel() // 4, 4, 4), "boft_s": 1 + random(layer.weight.shape[0], 1)}


def _old_oft(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"oft_diag": torch.eye(4) + random(layer.weight.shape[0] // 4, 4, 4)}


def _whole(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    return {"set_weight": layer.weight.detach() + random(*layer.weight.shape)}


def _sparse(layer: nn.Module, random: Callable[..., Tensor]) -> Parts:
    size = torch.tensor([layer.weight.shape[0], layer.weight[0].numel()])
    places = torch.arange(4).repeat(2, 1)
    return {**_lora(layer, random), "bias_indices": places, "bias_values": random(4), "bias_size": size}


KINDS: Mapping[str, Callable[[nn.Module, Callable[..., Tensor]], Parts]] = {
    "dora in": _dora(1),
    "dora out": _dora(0),
    "ia3": _ia3,
    "oft": _oft,
    "boft": _boft,
    "oft v2": _oft_v2,
    "glora": _glora,
    "full": _full,
    "bias": _bias,
    "norm": _norm,
    "tlora": _tlora,
    "boft of peft": _peft_boft,
    "old oft": _old_oft,
    "whole": _whole,
    "sparse": _sparse,
}


def lora_of(model, kind: str) -> LoraFile:
    """Return a LoRA with a module of a kind in three blocks."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.1

    layers = {**model.layers, **model.norms}
    keys = NORMS if kind == "norm" else tuple(key for key in PLACES if kind != "tlora" or "conv1" not in key)
    return LoraFile({key: read_adapter(key, KINDS[kind](layers[key], random)) for key in keys})


def by_hand(model, lora: LoraFile, multipliers: Mapping[str, float]) -> Tensor:
    """Return what the model gives with the sums written into its layers."""
    layers, kept = {**model.layers, **model.norms}, []
    with torch.no_grad():
        for block, keys in lora.blocks().items():
            for key in keys:
                layer, adapter = layers[key], lora.adapters[key]
                kept.append((layer, layer.weight, layer.bias))
                change = adapter.bias_delta(layer.bias)
                delta = adapter.delta(layer.weight).reshape(layer.weight.shape)
                if change is not None:
                    own = 0 if layer.bias is None else layer.bias
                    layer._parameters["bias"] = nn.Parameter(own + multipliers[block] * change)
                layer._parameters["weight"] = nn.Parameter(layer.weight + multipliers[block] * delta)
        try:
            return predict(model)
        finally:
            for layer, weight, bias in kept:
                layer._parameters["weight"], layer._parameters["bias"] = weight, bias


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_acts_as_its_formula_says_and_leaves_no_trace(model, kind: str) -> None:
    lora, weights = lora_of(model, kind), graded(model, start=0.4)
    before, without = fingerprint(model), predict(model)
    wanted = by_hand(model, lora, weights)
    assert float((wanted - without).abs().max()) > 1e-4
    for strategy in ("auto", "factors", "folded"):
        with attach(model, lora, weights, strategy=strategy) as attached:
            torch.testing.assert_close(predict(model), wanted, atol=2e-5, rtol=1e-4)
            attached.set_weights(dict.fromkeys(weights, 0.0))
            assert torch.equal(predict(model), without)
        assert fingerprint(model) == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_a_strength_for_each_sample(model, kind: str) -> None:
    lora = lora_of(model, kind)
    each = {block: torch.tensor([0.3, 0.9]) for block in graded(model)}
    with attach(model, lora, each):
        both = predict(model)
    for row, strength in enumerate((0.3, 0.9)):
        with attach(model, lora, strength):
            torch.testing.assert_close(both[row], predict(model)[row], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_lora_on_the_layer_changes_nothing_of_the_first(model, kind: str) -> None:
    lora, other = lora_of(model, kind), lora_of(model, "norm" if kind == "norm" else "full")
    deltas = as_differences(lora, model)  # of the untouched weight
    with attach(model, other, strategy="folded"), attach(model, deltas, strategy="folded"):
        wanted = predict(model)
    for strategy in ("factors", "folded"):
        with attach(model, other, strategy="folded"), attach(model, lora, strategy=strategy):
            torch.testing.assert_close(predict(model), wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_swapped_layer_gets_both_sums_only_while_it_runs(kind: str) -> None:
    torch.manual_seed(0)
    layer: nn.Module = nn.GroupNorm(2, 8) if kind == "norm" else nn.Linear(8, 8)
    adapter: Adapter = read_adapter("lora_unet_x", KINDS[kind](layer, lambda *shape: torch.randn(shape) * 0.1))
    weight, bias, x = layer.weight, layer.bias, torch.randn(2, 8)
    plain, change = layer(x), adapter.apply(x, layer)
    swap = Swap(lambda one: None)
    swap.contribute(layer, "a", adapter, 0.5)
    torch.testing.assert_close(layer(x), plain + 0.5 * change, atol=1e-5, rtol=1e-4)
    assert (layer.weight is weight, layer.bias is bias) == (True, True)
    with torch.no_grad():
        bias += 1  # as a host that merges its own LoRA does
    torch.testing.assert_close(layer(x), plain + 1 + 0.5 * adapter.apply(x, layer), atol=1e-5, rtol=1e-4)
    swap.withdraw(layer, "a")
    assert not layer._forward_hooks

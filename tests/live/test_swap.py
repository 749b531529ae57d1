"""Folding beside a host that changes weights in place: the layer has the sum only while it runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.live.swap import Swap


def adapter(seed: int) -> LoraAdapter:
    draw = torch.Generator().manual_seed(seed)
    return LoraAdapter("k", torch.randn(4, 2, generator=draw), torch.randn(2, 4, generator=draw), None, 2.0)


def layer_of_a_host() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 4).requires_grad_(False)


def nothing(layer: nn.Module) -> None:
    """Settle nothing."""


X = torch.eye(4)


def test_sum_acts_and_the_parameter_is_the_hosts_own_between_calls() -> None:
    layer, one = layer_of_a_host(), adapter(1)
    own, plain = layer.weight, layer(X)
    swap = Swap(nothing)
    swap.contribute(layer, "a", one, 0.5)
    assert torch.allclose(layer(X), plain + X @ one.delta().T * 0.5, atol=1e-6)
    assert layer.weight is own
    swap.withdraw(layer, "a")
    assert torch.equal(layer(X), plain)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    assert [name for name in vars(layer) if "atelier" in name] == []


@pytest.mark.parametrize("first", ["a", "b"])
def test_two_owners_may_leave_in_any_order(first: str) -> None:
    layer, parts = layer_of_a_host(), {"a": adapter(1), "b": adapter(2)}
    plain, swap = layer(X), Swap(nothing)
    for name, one in parts.items():
        swap.contribute(layer, name, one, 1.0)
    assert torch.allclose(layer(X), plain + X @ sum(one.delta() for one in parts.values()).T, atol=1e-5)
    other = parts.keys() - {first}
    swap.withdraw(layer, first)
    assert torch.allclose(layer(X), plain + X @ parts[min(other)].delta().T, atol=1e-5)
    swap.withdraw(layer, min(other))
    assert torch.equal(layer(X), plain)


def host_adds(layer: nn.Module) -> None:
    with torch.no_grad():
        layer.weight.add_(1.0)


def host_moves(layer: nn.Module) -> None:
    layer.weight.data = layer.weight.data.clone() + 1.0


def host_replaces(layer: nn.Module) -> None:
    layer.weight = nn.Parameter(layer.weight.detach() + 1.0, requires_grad=False)


@pytest.mark.parametrize("act", [host_adds, host_moves, host_replaces])
def test_whatever_the_host_does_to_the_weight_is_in_the_next_sum(act: Callable[[nn.Module], None]) -> None:
    layer, one = layer_of_a_host(), adapter(1)
    swap = Swap(nothing)
    swap.contribute(layer, "a", one, 1.0)
    before = layer(X)
    act(layer)
    assert torch.allclose(layer(X), before + 1.0, atol=1e-6)
    bare = layer.weight.clone()
    swap.withdraw(layer, "a")
    assert torch.equal(layer.weight, bare)


def test_host_settles_a_layer_before_it_is_summed() -> None:
    layer, one = layer_of_a_host(), adapter(1)
    plain = layer(X)
    swap = Swap(lambda layer: layer.weight.zero_())
    swap.contribute(layer, "a", one, 1.0)
    assert torch.allclose(layer(X), layer.bias + X @ one.delta().T, atol=1e-6)
    assert not torch.allclose(layer(X), plain)


def test_sum_is_made_once_for_many_calls() -> None:
    class Counting(LoraAdapter):
        made = 0

        def delta(self, weight: torch.Tensor | None = None) -> torch.Tensor:
            Counting.made += 1
            return super().delta(weight)

    layer, one = layer_of_a_host(), adapter(1)
    Swap(nothing).contribute(layer, "a", Counting(one.key, one.up, one.down, None, one.alpha), 1.0)
    for _ in range(5):
        layer(X)
    assert Counting.made == 1


def test_call_that_fails_gives_the_parameter_back() -> None:
    layer = layer_of_a_host()
    own = layer.weight
    Swap(nothing).contribute(layer, "a", adapter(1), 1.0)
    with pytest.raises(RuntimeError):
        layer(torch.ones(3))
    assert layer.weight is own
    layer(X)
    assert layer.weight is own

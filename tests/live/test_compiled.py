"""A LoRA on a model that PyTorch compiled: it acts whenever it comes, changes and goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.live import fold
from lib_lora.live.attach import Attached, Window
from lib_lora.live.swap import Swap
from lib_lora.live.targets import Target

KINDS = {"factors": LoraAdapter, "folded": LohaAdapter}


@pytest.fixture(autouse=True)
def _as_pytorch_comes() -> Iterator[None]:
    import torch._dynamo as dynamo

    dynamo.reset()
    dynamo.config.skip_nnmodule_hook_guards = True
    yield
    dynamo.reset()


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Sequential(nn.Linear(8, 8))).eval().requires_grad_(False)


def adapter(kind: str, layer: nn.Module, seed: int = 1) -> Any:
    draw = torch.Generator().manual_seed(seed)
    made = KINDS[kind].new("k", layer, rank=2, alpha=2.0, generator=draw)
    return made.with_parameters([torch.randn(one.shape, generator=draw) for one in made.parameters()])


def alike(compiled: Callable[[Tensor], Tensor], net: nn.Module) -> Tensor:
    """Return what the compiled network says, which is what it says as it is."""
    x = torch.linspace(-1, 1, 16).reshape(2, 8)
    with torch.no_grad():
        said = compiled(x)
        assert torch.allclose(said, net(x), atol=1e-5)
    return said


@pytest.mark.parametrize("kind", ["factors", "folded", "swapped"])
def test_a_lora_on_a_compiled_model_comes_changes_and_goes(net: nn.Module, kind: str) -> None:
    compiled = torch.compile(net, backend="eager")
    plain = alike(compiled, net)
    layer = net[2][0]
    target = Target(adapter("factors" if kind == "factors" else "folded", layer), layer, "M00")
    strategy = "factors" if kind == "factors" else "folded"
    folding = Swap(lambda _: None) if kind == "swapped" else fold
    attached = Attached([target], strategy=strategy, folding=folding, window=Window(0, 2))
    seen = []
    for weight in (1.0, 0.5, 0.0, 1.0):
        attached.set_weights({"M00": weight})
        seen.append(alike(compiled, net))
    attached.at_step(2)
    seen.append(alike(compiled, net))
    attached.at_step(0)
    attached.detach()
    seen.append(alike(compiled, net))
    off = [torch.allclose(one, plain, atol=1e-6) for one in seen]
    assert off == [False, False, True, False, True, True]
    assert torch.allclose(seen[0], seen[3], atol=1e-6)
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


def test_one_number_for_each_sample_on_a_compiled_model(net: nn.Module) -> None:
    compiled = torch.compile(net, backend="eager")
    plain = alike(compiled, net)
    attached = Attached([Target(adapter("factors", net[2][0]), net[2][0], "M00")])
    for numbers in ([0.0, 1.0], [1.0, 0.0]):
        attached.set_weights({"M00": torch.tensor(numbers)})
        said = alike(compiled, net)
        assert [torch.allclose(one, two, atol=1e-6) for one, two in zip(said, plain, strict=True)] == [
            number == 0.0 for number in numbers
        ]
    attached.detach()
    assert torch.allclose(alike(compiled, net), plain, atol=1e-6)


def test_a_model_compiled_while_a_lora_is_on_lets_it_go(net: nn.Module) -> None:
    x = torch.ones(1, 8)
    with torch.no_grad():
        plain = net(x)
        attached = Attached([Target(adapter("factors", net[0]), net[0], "M00")])
        attached.set_weights({"M00": 1.0})
        compiled = torch.compile(net, backend="eager")
        changed = compiled(x)
        attached.detach()
        assert torch.allclose(compiled(x), plain, atol=1e-6)
        assert not torch.allclose(changed, plain, atol=1e-3)

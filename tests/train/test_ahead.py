"""Weights that are fetched ahead: the right ones, one block at most, and the step is the one without."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from lib_lora.train.memory.ahead import Ahead, AtOnce, SideStream, fetched, way_to
from lib_lora.train.memory.blocks import checkpointed
from lib_lora.train.memory.storage import in_main_memory, stored

CPU = torch.device("cpu")


@dataclass
class Beside:
    """A way as a GPU's, of which everything is written down; weights are there only once they are waited for."""

    ahead: bool = True
    told: list[str] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    def begin(self, rows):
        self.told.append(f"begin {len(rows)}")
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self._values = [fetched(row) for row in rows]
        found = [torch.full_like(value, float("nan")) for value in self._values]  # what is not there yet
        self._pending = getattr(self, "_pending", {}) | {
            id(empty): (empty, value) for empty, value in zip(found, self._values, strict=True)
        }
        return found

    def finish(self, weights):
        self.told.append("finish")
        self.under_way -= 1
        for weight in weights:
            empty, value = self._pending.pop(id(weight))
            empty.copy_(value)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(5)])
        self.requires_grad_(False)

    def forward(self, x):
        for block in self.blocks:
            x = torch.tanh(block(x))
        return x


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Net()


def gradient(net, way):
    """Return what three steps come to, and the blocks' traffic of the last."""
    found = []
    with stored(net.blocks, in_main_memory, way=way) as known, checkpointed(net.blocks):
        for number in range(3):
            if isinstance(way, Beside):
                way.told.clear()
            x = torch.full((2, 4), 0.1 * (number + 1), requires_grad=True)
            net(x).square().sum().backward()
            found.append(x.grad)
    assert known.most == 1
    return found


def test_steps_with_weights_fetched_ahead_are_those_without(net):
    before = {name: (id(p), p.clone()) for name, p in net.named_parameters()}
    way = Beside()
    plain, ahead = gradient(net, AtOnce()), gradient(net, way)
    for one, two in zip(plain, ahead, strict=True):
        assert torch.equal(one, two)
    for name, parameter in net.named_parameters():
        assert id(parameter) == before[name][0]
        assert torch.equal(parameter, before[name][1])
    assert way.most == 1


def test_in_a_known_step_each_block_is_on_its_way_before_it_is_wanted(net):
    way = Beside()
    gradient(net, way)
    runs = 2 * len(net.blocks)
    assert way.told.count("finish") == runs
    # Each wait is followed by the next one's start: nothing is begun when it is wanted already.
    assert way.told == ["finish", "begin 2"] * runs


class Row:
    def __init__(self, number) -> None:
        self.waiting = torch.tensor([float(number)])
        self.device, self.dtype = CPU, torch.float32


def test_a_guess_that_was_wrong_costs_a_copy_and_never_gives_other_weights():
    way = Beside()
    ahead = Ahead({name: [Row(number)] for number, name in enumerate("abcd")}, way)
    order = "abcdbadcabcdabcddcba"
    for name in order:
        weights = ahead.weights_of(name)
        assert [float(w) for w in weights] == ["abcd".index(name)]
        ahead.look_ahead()
    assert way.told.count("finish") == len(order)


def test_forwards_and_backwards_are_told_apart_by_two_blocks():
    way = Beside()
    ahead = Ahead({name: [Row(number)] for number, name in enumerate("abc")}, way)
    for _ in range(2):
        for name in "abccba":
            ahead.weights_of(name)
            ahead.look_ahead()
    way.told.clear()
    for name in "abccba":
        ahead.weights_of(name)
        ahead.look_ahead()
    assert way.told == ["finish", "begin 1"] * 6


def test_without_a_gpu_nothing_is_fetched_ahead():
    assert isinstance(way_to(CPU), AtOnce)
    rows = {"a": [Row(1)], "b": [Row(2)]}
    ahead = Ahead(rows, AtOnce())
    for name in "abab":
        ahead.weights_of(name)
        ahead.look_ahead()
        assert ahead._coming is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_on_a_gpu_the_side_stream_gives_the_same_steps(net):
    net = net.cuda()
    x = torch.full((2, 4), 0.3, device="cuda")
    with torch.no_grad():
        plain = net(x)
        with stored(net.blocks, in_main_memory, way=SideStream(x.device)):
            for _ in range(3):
                assert torch.equal(net(x), plain)

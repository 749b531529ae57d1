"""Joined parameters: the numbers of the library's own loop, states in its own form, and a way back."""

from __future__ import annotations

import pytest
import torch

from lib_lora.train.optimizers import OPTIMIZERS, spec_of
from lib_lora.train.ratio_optimizer import Group, RatioOptimizer

JOINING = [name for name, spec in OPTIMIZERS.items() if spec.joins]
TO_THE_BIT = ("AdamW", "Lion", "SGD")
"""These sum over nothing."""
STEPS = 8


@pytest.fixture(params=JOINING)
def name(request):
    if not spec_of(request.param).there:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def lora(count: int = 6) -> list[torch.Tensor]:
    """Return downs, and ups that begin at 0; the last is a convolution's."""
    random = torch.Generator().manual_seed(3)
    found = []
    for number in range(count):
        down = (4, 16 + number) if number + 1 < count else (4, 3, 3, 3)
        found += [0.1 * torch.randn(down, generator=random), torch.zeros(24, 4)]
    return [one.requires_grad_() for one in found]


def made(name, parameters, *, ratios=(1.0, 0.5), **more):
    half = len(parameters) // 2
    groups = [Group(parameters[:half], ratios[0]), Group(parameters[half:], ratios[1])]
    rate = spec_of(name).usual_rate
    return RatioOptimizer(name, groups, learning_rate=rate, arguments=more.pop("arguments", {}), **more)


def step(parameters, optimizer, number, *, without=()) -> None:
    random = torch.Generator().manual_seed(100 + number)
    for place, parameter in enumerate(parameters):
        grad = 2 * (parameter.detach() - 0.3) + 0.01 * torch.randn(parameter.shape, generator=random)
        parameter.grad = None if place in without else grad
    optimizer.step(1 - number / 20)


def is_joined(optimizer) -> bool:
    return len(optimizer.inner.param_groups[0]["params"]) == 1


def close(one, two, *, bits: bool) -> None:
    for first, second in zip(one, two, strict=True):
        if bits:
            assert torch.equal(first, second)
        else:
            torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-8)


def test_the_numbers_are_those_of_the_librarys_own_loop(name):
    one, two = lora(), lora()
    joined, plain = made(name, one), made(name, two, joined=False)
    for number in range(STEPS):
        step(one, joined, number)
        step(two, plain, number)
    assert is_joined(joined)
    assert not is_joined(plain)
    close(one, two, bits=name in TO_THE_BIT)
    assert joined.effective_rate == pytest.approx(plain.effective_rate, rel=1e-6)


def test_the_state_has_the_librarys_own_form_and_fits_either_way(name):
    one, two = lora(), lora()
    joined, plain = made(name, one), made(name, two, joined=False)
    for number in range(3):
        step(one, joined, number)
        step(two, plain, number)
    kept, wanted = joined.state_dict(), plain.state_dict()
    assert kept["state"].keys() == wanted["state"].keys()
    for number, state in wanted["state"].items():
        assert kept["state"][number].keys() == state.keys()
        for key, value in state.items():
            mine = kept["state"][number][key]
            if isinstance(value, torch.Tensor) and value.numel() > 1:
                assert mine.shape == value.shape, key
    assert [group.keys() for group in kept["param_groups"]] == [group.keys() for group in wanted["param_groups"]]
    on_from_plain, on_from_joined = lora(), lora()
    first, second = made(name, on_from_plain), made(name, on_from_joined, joined=False)
    for parameters, optimizer, values, state in (
        (on_from_plain, first, two, wanted),
        (on_from_joined, second, one, kept),
    ):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data.copy_(value.data)
        optimizer.load_state_dict(state)
        step(parameters, optimizer, 3)
    step(two, plain, 3)
    close(on_from_plain, two, bits=name in TO_THE_BIT)
    close(on_from_joined, two, bits=name in TO_THE_BIT)


def test_gradients_are_forgotten_between_steps(name):
    one, two = lora(), lora()
    joined, plain = made(name, one), made(name, two, joined=False)
    for _ in range(3):
        for parameters, optimizer in ((one, joined), (two, plain)):
            optimizer.zero_grad()
            assert all(parameter.grad is None for parameter in parameters)
            sum((parameter - 0.3).square().sum() for parameter in parameters).backward()  # adds up what is left there
            optimizer.step(1.0)
    assert is_joined(joined)
    close(one, two, bits=name in TO_THE_BIT)


def test_parameters_without_gradients_stay_as_they_are(name):
    one, two = lora(), lora()
    joined, plain = made(name, one), made(name, two, joined=False)
    for number in range(3):
        step(one, joined, number, without=(0, 7))
        step(two, plain, number, without=(0, 7))
    assert is_joined(joined)
    assert torch.equal(one[0], lora()[0])
    close(one, two, bits=name in TO_THE_BIT)
    assert joined.state_dict()["state"].keys() == plain.state_dict()["state"].keys()


def test_where_gradients_come_and_go_the_librarys_own_loop_goes_on(name):
    one, two = lora(), lora()
    joined, plain = made(name, one), made(name, two, joined=False)
    for number, without in enumerate(((), (), (2,), (), (5, 6))):
        step(one, joined, number, without=without)
        step(two, plain, number, without=without)
    assert not is_joined(joined)
    close(one, two, bits=name in TO_THE_BIT)


def test_rates_of_their_own_are_joined_for_each_part(name):
    ratios = (1.0, 0.5) if spec_of(name).rates == "each" else (1.0, 1.0)
    one, two = lora(), lora()
    joined = made(name, one, ratios=ratios, as_sd_scripts=True)
    plain = made(name, two, ratios=ratios, as_sd_scripts=True, joined=False)
    for number in range(3):
        step(one, joined, number)
        step(two, plain, number)
    assert [len(group["params"]) for group in joined.inner.param_groups] == [1, 1]
    close(one, two, bits=name in TO_THE_BIT)


@pytest.mark.parametrize("nth", [3, 11])  # of four numbers, as joining tries them, 11 leaves one
def test_states_of_another_size_are_not_joined(nth):
    """Prodigy can look at each nth number only: of joined parameters these would be others."""
    pytest.importorskip("prodigyopt")
    one, two = lora(), lora()
    joined, plain = (made("Prodigy", p, arguments={"slice_p": nth}, joined=j) for p, j in ((one, True), (two, False)))
    for number in range(3):
        step(one, joined, number)
        step(two, plain, number)
    assert not is_joined(joined)
    close(one, two, bits=True)


def test_those_that_look_at_a_matrix_are_not_joined():
    assert not any(OPTIMIZERS[name].joins for name in ("AdaFactor", "Muon", "CAME", "AdamW8bit"))
    assert not spec_of("torch.optim.NAdam").joins

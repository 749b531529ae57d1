"""Loss scaling leaves the gradients as they would be, and steps over an overflow."""

from __future__ import annotations

import torch

from lib_lora.train.loss_scaling import PATIENCE, LossScale


def parameter(value: float = 1.0) -> torch.Tensor:
    return torch.tensor([value, 2.0], requires_grad=True)


def test_scaled_gradients_are_the_plain_ones() -> None:
    plain, scaled = parameter(), parameter()
    assert LossScale(1.0).backward((plain**3).sum(), [plain])
    assert LossScale(2.0**15).backward((scaled**3).sum(), [scaled])
    assert torch.equal(plain.grad, scaled.grad)


def test_an_overflow_halves_the_scale_and_says_that_nothing_may_step() -> None:
    scale, value = LossScale(8.0), parameter()
    assert not scale.backward((value * torch.inf).sum(), [value])
    assert scale.value == 4.0


def test_the_scale_grows_back_to_where_it_began() -> None:
    scale = LossScale(8.0)
    scale.value = 4.0
    for _ in range(2 * PATIENCE):
        value = parameter()
        assert scale.backward(value.sum(), [value])
    assert scale.value == 8.0


def test_without_scaling_an_overflow_is_noticed_too() -> None:
    scale, value = LossScale(1.0), parameter()
    assert not scale.backward((value * torch.inf).sum(), [value])
    assert scale.value == 1.0

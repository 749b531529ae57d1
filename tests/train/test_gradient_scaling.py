"""Loss scaling leaves the gradients as they would be, and steps over an overflow."""

from __future__ import annotations

import torch
from torch import Tensor

from lib_lora.train.gradient_scaling import PATIENCE, LossScale


def parameter(value: float = 1.0) -> Tensor:
    return torch.tensor([value, 2.0], requires_grad=True)


def steep(value: Tensor) -> Tensor:
    """A loss of 0 with an infinite slope."""
    return (value - value.detach()).sqrt().sum()


def backward(scale: LossScale, loss: Tensor, value: Tensor) -> tuple[float, bool]:
    scale.backward(loss)
    return scale.settled(loss, [value])


def test_scaled_gradients_are_the_plain_ones() -> None:
    plain, scaled = parameter(), parameter()
    assert backward(LossScale(1.0), (plain**3).sum(), plain) == (9.0, True)
    assert backward(LossScale(2.0**15), (scaled**3).sum(), scaled) == (9.0, True)
    assert torch.equal(plain.grad, scaled.grad)


def test_shares_of_a_loss_add_up_to_it() -> None:
    whole, parts, scale = parameter(), parameter(), LossScale(8.0)
    backward(LossScale(1.0), (whole**3).sum(), whole)
    for _ in range(2):
        scale.backward((parts**3).sum(), share=0.5)
    scale.settled(torch.tensor(9.0), [parts])
    assert torch.equal(whole.grad, parts.grad)


def test_an_overflow_halves_the_scale_and_says_that_nothing_may_step() -> None:
    scale, value = LossScale(8.0), parameter()
    assert backward(scale, steep(value), value) == (0.0, False)
    assert scale.value == 4.0


def test_a_loss_that_is_no_number_does_not_blame_the_scale() -> None:
    scale, value = LossScale(8.0), parameter()
    assert backward(scale, (value * torch.inf).sum(), value) == (torch.inf, False)
    assert scale.value == 8.0


def test_the_scale_grows_back_to_where_it_began() -> None:
    scale = LossScale(8.0)
    scale.value = 4.0
    for _ in range(2 * PATIENCE):
        value = parameter()
        assert backward(scale, value.sum(), value) == (3.0, True)
    assert scale.value == 8.0


def test_without_scaling_an_overflow_is_noticed_too() -> None:
    scale, value = LossScale(1.0), parameter()
    assert backward(scale, steep(value), value) == (0.0, False)
    assert scale.value == 1.0

"""Arguments of an optimizer are tried before a run begins: whatever it does with wrong ones is a sentence."""

from __future__ import annotations

import pytest
import torch

from lib_lora.errors import InputError
from lib_lora.train.available import is_available
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.ratio_optimizer import Group, RatioOptimizer


def made(name, **arguments):
    if not is_available(name):
        pytest.skip(f"{name} is not installed")
    known = OPTIMIZERS[name]
    number = torch.zeros(2, 2, requires_grad=True)
    return RatioOptimizer(name, [Group([number], 1.0)], learning_rate=known.usual_rate, arguments=arguments)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("arguments", [{"weight_decay": "abc"}, {"betas": 1}, {"betas": ("a", "b")}, {"foo": 1}])
def test_arguments_of_a_wrong_kind_or_name_are_refused_with_those_that_there_are(name, arguments):
    with pytest.raises(InputError) as caught:
        made(name, **arguments)
    assert name in caught.value.what
    assert "weight_decay=" in caught.value.cure


@pytest.mark.parametrize("name", ["AdamW", "DAdaptAdam", "Prodigy"])
def test_arguments_that_lead_to_no_numbers_are_refused(name):
    with pytest.raises(InputError):
        made(name, eps=0.0)


def test_the_learning_rate_is_no_argument():
    with pytest.raises(InputError, match="option of its own"):
        made("AdamW", lr=5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_usual_arguments_pass_and_nothing_is_moved(name):
    optimizer = made(name, weight_decay=0.02)
    assert not optimizer.groups[0].parameters[0].any()

"""Every optimizer on a few numbers: it learns, ratios act, its state goes on to the bit, its memory is what it says."""

from __future__ import annotations

import math

import pytest
import torch

from lib_lora.errors import InputError
from lib_lora.train.available import usual_rate
from lib_lora.train.optimizers import OPTIMIZERS, spec_of
from lib_lora.train.options import from_mapping, parse_argument
from lib_lora.train.ratio_optimizer import Group, RatioOptimizer, measured_states, optimizer_for
from lib_lora.ui.train.options import from_widget

BY_PATH = "torch.optim.NAdam"


@pytest.fixture(params=[*OPTIMIZERS, BY_PATH])
def name(request):
    if not spec_of(request.param).there:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def numbers() -> list[torch.Tensor]:
    """Return a small LoRA's numbers: matrices, and one kernel of a convolution."""
    random = torch.Generator().manual_seed(5)
    shapes = ((4, 24), (24, 4), (4, 3, 3, 3))
    return [(0.1 * torch.randn(shape, generator=random)).requires_grad_() for shape in shapes]


def made(name, ratios=(1.0, 1.0, 1.0), **more):
    parameters = numbers()
    groups = [Group([p], ratio) for p, ratio in zip(parameters, ratios, strict=True)]
    rate = max(1e-3, usual_rate(name)) if "AdaFactor" not in name else 0.0
    return parameters, RatioOptimizer(name, groups, learning_rate=rate, arguments=more.pop("arguments", {}), **more)


def step(parameters, optimizer, n: int, *, factor: float = 1.0) -> None:
    torch.manual_seed(n)  # some round at random
    for parameter in parameters:
        parameter.grad = 2 * parameter.detach() + 0.01 * torch.randn(parameter.shape)
    optimizer.step(factor)


def test_it_moves_every_number_towards_the_goal(name):
    parameters, optimizer = made(name)
    before = [p.detach().clone() for p in parameters]
    for n in range(12):
        step(parameters, optimizer, n)
    for was, now in zip(before, parameters, strict=True):
        assert torch.isfinite(now).all()
        assert not torch.equal(was, now)
    if not spec_of(name).automatic:  # these may jump far on a bowl as small as this
        assert sum(float((p**2).sum().detach()) for p in parameters) < sum(float((p**2).sum()) for p in before)


def test_a_ratio_halves_what_is_applied(name):
    if spec_of(name).averages:
        pytest.skip("refused with ratios: see test_rates.py")
    moved = {}
    for ratio in (1.0, 0.5):
        parameters, optimizer = made(name, ratios=(ratio, 1.0, ratio))
        before = [p.detach().clone() for p in parameters]
        step(parameters, optimizer, 0)
        moved[ratio] = [p.detach() - was for p, was in zip(parameters, before, strict=True)]
    for ratio, one, other in zip((0.5, 1.0, 0.5), moved[1.0], moved[0.5], strict=True):
        torch.testing.assert_close(other, one * ratio, rtol=1e-3, atol=2e-8)


def test_a_state_goes_on_to_the_bit(name):
    parameters, optimizer = made(name)
    for n in range(3):
        step(parameters, optimizer, n, factor=1 - n / 10)
    again, resumed = made(name)
    for mine, saved in zip(again, parameters, strict=True):
        mine.data.copy_(saved.data)
    kept = optimizer.state_dict()
    resumed.load_state_dict(torch.load(_saved(kept), weights_only=False))
    for n in range(3, 6):
        step(parameters, optimizer, n, factor=1 - n / 10)
        step(again, resumed, n, factor=1 - n / 10)
    for one, two in zip(parameters, again, strict=True):
        assert torch.equal(one, two)


def _saved(state):
    import io

    kept = io.BytesIO()
    torch.save(state, kept)
    kept.seek(0)
    return kept


def test_what_is_used_comes_and_goes_and_the_training_does_not_notice(name):
    parameters, optimizer = made(name)
    other, plain = made(name)
    for n in range(4):
        step(parameters, optimizer, n)
        step(other, plain, n)
        before = [p.detach().clone() for p in parameters]
        with optimizer.to_use():
            used = [p.detach().clone() for p in parameters]
        assert all(map(torch.equal, before, parameters))
    assert all(map(torch.equal, other, parameters))
    assert spec_of(name).averages == (not all(map(torch.equal, used, parameters)))


def test_the_table_says_what_it_keeps(name):
    assert spec_of(name).states == pytest.approx(measured_states(name), rel=0.12, abs=0.06)


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_gradients_that_alpha_makes_small_stay_finite(name, alpha):
    parameters, optimizer = made(name)
    for n in range(6):
        random = torch.Generator().manual_seed(n)
        for parameter in parameters:
            parameter.grad = alpha * 1e-4 * torch.randn(parameter.shape, generator=random)
        parameters[1].grad.zero_()
        optimizer.step(1.0)
    assert all(torch.isfinite(p).all() for p in parameters)
    assert math.isfinite(optimizer.effective_rate)


def test_one_that_does_not_start_is_noticed_and_one_that_does_is_not():
    parameters, optimizer = made("DAdaptAdam")
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(1.0)
    assert optimizer.has_not_started
    for n in range(30):
        step(parameters, optimizer, n)
    assert not optimizer.has_not_started
    assert not made("AdamW")[1].has_not_started


# -- as sd-scripts ----------------------------------------------------------------------------------------------------


def test_as_sd_scripts_each_part_has_its_rate_and_the_library_its_own_defaults():
    parameters, optimizer = made("AdamW", ratios=(0.5, 1.0, 1.0), as_sd_scripts=True)
    theirs = numbers()
    plain = torch.optim.AdamW([{"params": [p], "lr": 1e-3 * r} for p, r in zip(theirs, (0.5, 1, 1), strict=True)])
    for n in range(4):
        step(parameters, optimizer, n)
        torch.manual_seed(n)
        for parameter in theirs:
            parameter.grad = 2 * parameter.detach() + 0.01 * torch.randn(parameter.shape)
        plain.step()
    assert all(map(torch.equal, parameters, theirs))
    assert made("Prodigy", as_sd_scripts=True)[1].inner.param_groups[0]["weight_decay"] == 0


def test_as_sd_scripts_adan_takes_the_first_rate_for_all():
    pytest.importorskip("dadaptation")
    parameters, optimizer = made("DAdaptAdanIP", ratios=(0.5, 1.0, 1.0), as_sd_scripts=True)
    halved, other = made("DAdaptAdanIP", ratios=(0.5, 0.5, 0.5), as_sd_scripts=True)
    for n in range(4):
        step(parameters, optimizer, n)
        step(halved, other, n)
    assert all(map(torch.equal, parameters, halved))


def test_a_first_step_of_rate_zero_moves_nothing():
    parameters, optimizer = made("AdamW", as_sd_scripts=True)
    before = [p.detach().clone() for p in parameters]
    step(parameters, optimizer, 0, factor=0.0)
    assert all(map(torch.equal, before, parameters))


# -- by path ----------------------------------------------------------------------------------------------------------


def chosen(**changes):
    return from_mapping({"images": "p", "name": "n", **changes}, where="t")


def test_any_class_is_taken_by_its_path_with_typed_arguments():
    arguments = dict(map(parse_argument, ("betas=(0.8, 0.9)", "decoupled_weight_decay=true", "foreach=None")))
    options = chosen(optimizer=BY_PATH, optimizer_args=arguments, learning_rate=3.0)
    made = optimizer_for(options, [Group(numbers(), 1.0)]).inner.param_groups[0]
    assert (made["betas"], made["decoupled_weight_decay"], made["foreach"]) == ((0.8, 0.9), True, None)
    assert chosen(optimizer=BY_PATH).learning_rate == 1e-4


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("torch.optim.Nothing", "has no optimizer"),
        ("os.path.join", "has no optimizer"),
        ("subprocess.Popen", "has no optimizer"),
        ("torch.nowhere.Adam", "cannot be imported"),
        ("nobody_has_this.Adam", "needs the package nobody_has_this"),
    ],
)
def test_a_path_that_leads_to_no_optimizer_is_refused_in_a_sentence(path, said):
    options = chosen(optimizer=path)
    with pytest.raises(InputError, match=said) as caught:
        optimizer_for(options, [Group(numbers(), 1.0)])
    assert caught.value.cure


@pytest.mark.parametrize("path", ["torch.optim.", ".Adam", "a..B", "rm -rf.x", "Nobody"])
def test_what_is_no_path_is_an_unknown_optimizer(path):
    with pytest.raises(InputError, match="is unknown"):
        chosen(optimizer=path)


@pytest.mark.parametrize(
    "arguments", [{"betas": "high"}, {"nothing": 1}, {"eps": "small"}, {"weight_decay": -1.0}, {"betas": (2.0, 0.9)}]
)
def test_wrong_arguments_of_a_path_are_refused_with_those_that_there_are(arguments):
    with pytest.raises(InputError, match="NAdam") as caught:
        optimizer_for(chosen(optimizer=BY_PATH, optimizer_args=arguments), [Group(numbers(), 1.0)])
    assert "betas=(0.9, 0.999)" in caught.value.cure


def test_a_form_takes_tuples_with_and_without_brackets():
    expected = {"betas": (0.9, 0.99), "decouple": True, "eps": 1e-8}
    assert from_widget("optimizer_args", "betas=0.9, 0.99, decouple=true\neps=1e-8") == expected
    assert from_widget("optimizer_args", "betas=(0.9, 0.99), decouple=True, eps=1e-8") == expected


def test_one_that_averages_begins_without_ratios_and_course():
    options = chosen(optimizer="ProdigyPlusScheduleFree")
    assert (options.scheduler, options.unet_ratio, options.text_encoder_ratio) == ("constant", 1.0, 1.0)

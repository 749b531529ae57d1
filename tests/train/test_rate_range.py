"""A probe before a run: a rising rate, the loss on fixed pictures, and nothing that stays."""

from __future__ import annotations

import math
import tempfile

import pytest
import torch

from lib_lora.errors import AtelierError, StoppedError
from lib_lora.progress import QUIET
from lib_lora.train import rate_range, step
from lib_lora.train.available import usual_rate
from lib_lora.train.measures import Measuring
from lib_lora.train.rate_range import probe, suggestion
from lib_lora.train.ratio_optimizer import RatioOptimizer
from lib_lora.train.recipes import facts_of
from lib_lora.train.step import one_step
from tests.told import Told

RATES = [10.0 ** (n / 4 - 6) for n in range(24)]


def test_a_tenth_of_the_rate_with_the_lowest_loss_is_suggested():
    # A valley over the logarithm of the rate, lowest at 1e-3, and beyond it the loss explodes.
    losses = [1 - 0.3 * math.exp(-((math.log10(rate) + 3) ** 2)) + (rate > 1e-2) * 5 for rate in RATES]
    assert suggestion(1.0, RATES, losses) == pytest.approx(1e-4, rel=0.3)


def test_one_lucky_step_does_not_decide():
    losses = [1 - 0.3 * math.exp(-((math.log10(rate) + 3) ** 2)) for rate in RATES]
    losses[2] = 0.68
    assert suggestion(1.0, RATES, losses) == pytest.approx(1e-4, rel=0.3)


@pytest.mark.parametrize("losses", [[], [1.0] * 24, [2.0] * 24, [math.inf] * 24])
def test_no_rate_is_suggested_where_none_taught_anything(losses):
    assert suggestion(1.0, RATES[: len(losses)], losses) is None


@pytest.fixture
def rows(monkeypatch):
    """What each step of a probe tells of itself."""
    found = []

    def noted(training):
        found.append(one_step(training))
        return found[-1]

    monkeypatch.setattr(rate_range, "one_step", noted)
    monkeypatch.setattr(rate_range, "PICTURES", 1)
    return found


@pytest.fixture
def plain(options_for):
    return options_for(optimizer="AdamW", learning_rate=1e-3, resolution=64, text_encoder_ratio=0.0)


def test_a_probe_leaves_nothing_and_tells_time_and_memory(model, plain, tmp_path, monkeypatch, rows):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = {name: layer.weight.clone() for name, layer in list(model.layers.items())[:20]}
    found = probe(model, plain, QUIET, steps=6)
    assert found.rates == pytest.approx([row["rate"] for row in rows])
    usual = usual_rate("AdamW", facts_of(model))
    assert (found.rates[0], found.rates[2] / found.rates[1]) == pytest.approx((usual / 100, 10**0.8))
    assert len(set(found.losses)) > 1
    assert found.suggested == suggestion(found.losses[0], found.rates, found.losses)
    assert found.seconds > 0
    assert found.memory > 0
    assert (found.steps, found.run_seconds) == (6, found.seconds * 6)
    assert list(scratch.iterdir()) == []
    for name, weight in before.items():
        assert torch.equal(model.layers[name].weight, weight)


def test_the_rate_is_chosen_by_the_steady_loss_after_each_step(model, plain, monkeypatch, rows):
    losses = iter([1.0, 0.9, 0.8, 0.2, 0.9, 5.0])
    monkeypatch.setattr(Measuring, "steady", lambda self, progress: next(losses))
    found = probe(model, plain, QUIET, steps=9)
    assert found.losses == (0.9, 0.8, 0.2, 0.9, 5.0)  # the last one says that higher rates say nothing
    assert found.suggested == pytest.approx(found.rates[2] / 10, rel=0.1)


@pytest.mark.parametrize(("when", "steps"), [("encoding pictures", 0), ("probing", 1)])
def test_a_probe_that_was_stopped_suggests_nothing(model, plain, rows, when, steps):
    with pytest.raises(StoppedError):
        probe(model, plain, Told(stop_at=when), steps=4)
    assert len(rows) == steps


def test_a_stop_while_the_loss_is_taken_suggests_nothing_either(model, plain, monkeypatch, rows):
    steady = Measuring.steady
    monkeypatch.setattr(Measuring, "steady", lambda self, progress: None if rows else steady(self, progress))
    with pytest.raises(StoppedError):
        probe(model, plain, QUIET, steps=4)
    assert len(rows) == 1


def test_what_is_wrong_beside_the_rate_is_said(model, plain, monkeypatch, rows):
    def full(training):
        if len(rows) == 2:
            raise AtelierError("The memory does not suffice")
        rows.append(one_step(training))
        return rows[-1]

    monkeypatch.setattr(rate_range, "one_step", full)
    with pytest.raises(AtelierError, match="memory"):
        probe(model, plain, QUIET, steps=4)


@pytest.mark.parametrize("good", [0, 2])
def test_steps_without_finite_numbers_end_a_probe_only_where_the_rate_can_be_why(model, plain, monkeypatch, rows, good):
    backward = step.backward

    def astray(training, *arguments, **more):
        loss = backward(training, *arguments, **more)
        return loss if training.step < good else loss * math.nan

    monkeypatch.setattr(step, "backward", astray)
    if not good:
        with pytest.raises(AtelierError, match="no finite numbers"):
            probe(model, plain, QUIET, steps=9)
    else:
        found = probe(model, plain, QUIET, steps=9)
        assert len(found.rates) == len(rows) == good + step.BAD_STEPS - 1


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_from_the_start_is_said(model, plain, monkeypatch, rows, loss):
    monkeypatch.setattr(Measuring, "steady", lambda self, progress: loss)
    with pytest.raises(AtelierError, match="before the first step"):
        probe(model, plain, QUIET, steps=4)
    assert rows == []


@pytest.mark.parametrize("began", [True, False])
def test_an_optimizer_that_finds_its_rate_tells_what_it_found(model, options_for, monkeypatch, rows, began):
    monkeypatch.setattr(RatioOptimizer, "has_not_started", not began)
    options = options_for(optimizer="DAdaptAdanIP", resolution=64, text_encoder_ratio=0.0, optimizer_args={"d0": 1e-3})
    found = probe(model, options, QUIET, steps=3)
    assert found.suggested is None
    assert found.rates == tuple(row["rate"] for row in rows)
    assert found.found == (rows[-1]["rate"] if began else None)
    assert "finds its rate itself" in found.note
    with pytest.raises(StoppedError):
        probe(model, options, Told(stop_at="probing"), steps=3)

"""A probe before a run: a rising rate, the loss on fixed pictures, and nothing that stays."""

from __future__ import annotations

import math
import tempfile

import pytest
import torch

from lib_lora.progress import QUIET
from lib_lora.train import rate_range
from lib_lora.train.rate_range import probe, suggestion

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


def test_a_probe_leaves_nothing_and_tells_time_and_memory(model, options_for, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(rate_range, "PICTURES", 1)
    before = {name: layer.weight.clone() for name, layer in list(model.layers.items())[:20]}
    options = options_for(optimizer="AdamW", learning_rate=1e-3, resolution=64, text_encoder_ratio=0.0)
    found = probe(model, options, QUIET, steps=6)
    assert list(found.rates) == sorted(found.rates)
    assert found.rates[-1] / found.rates[0] > 100 or math.isinf(found.losses[-1]) or found.losses[-1] > found.losses[0]
    assert found.seconds > 0
    assert found.memory > 0
    assert (found.steps, found.run_seconds) == (6, found.seconds * 6)
    assert list(scratch.iterdir()) == []
    for name, weight in before.items():
        assert torch.equal(model.layers[name].weight, weight)


def test_an_optimizer_that_finds_its_rate_tells_what_it_found(model, options_for):
    options = options_for(optimizer="DAdaptAdanIP", resolution=64, text_encoder_ratio=0.0, optimizer_args={"d0": 1e-3})
    found = probe(model, options, QUIET, steps=4)
    assert found.suggested is None
    assert found.found is None or found.found > 0
    assert "finds its rate itself" in found.note

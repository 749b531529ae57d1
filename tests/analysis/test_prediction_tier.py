"""Tier 2 against brute force: one prediction for each block, caption, noise and level."""

from __future__ import annotations

import math

import pytest
import torch

from lib_lora.analysis.effective_block import SweepSpec
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.analysis.tiers.prediction_tier import (
    WALK,
    PredictionSpec,
    measure_prediction,
    noise_of,
    selectivity,
    stepped,
)
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.errors import InputError, StoppedError
from lib_lora.formats.keys import block_of_key
from lib_lora.live.attach import attach
from lib_lora.progress import Stoppable
from tests.conftest import random_lora

LAYOUT = full_layout("sd1")
ENTRIES = (("BASE",), ("IN01",), ("IN00",), ("M00", "OUT03"), ("OUT11",))


def spec_of(examined=0.0, others=1.0, **more):
    plan = SweepSpec(examined, others, ENTRIES, LAYOUT, AnalyzeOptions(seeds=2))
    given = {"triggers": ("red apple",), "neutrals": ("blue circle",)}
    return PredictionSpec(plan, **given | {"seed": 5, "chunk": 3} | more)


@pytest.fixture(scope="module")
def some(model):
    return random_lora(model, seed=4, size=0.05)


@pytest.fixture(scope="module")
def filled(model, some):
    return frozenset(block_of_key(key, model.family) for key in some.adapters)


def one_by_one(model, lora, spec, caption, entry, draw, level):
    """‖change‖ / ‖prediction‖ in percent, with attachments of single numbers and a walk of its own."""

    def numbers(weights):
        return ResolvedTag("x", te=spec.te, unet=spec.unet, weights=weights).multipliers(model.family)

    def predicted(latents, step, weights):
        with torch.no_grad(), attach(model, lora, numbers(weights)):
            return model.predict(latents, torch.tensor([step]), model.encode_text([caption], spec.clip_skip))

    alphas, count = model.alphas_cumprod, WALK * spec.levels
    steps = [round(len(alphas) * (index + 0.5) / count) for index in range(count)][::-1]
    latents = noise_of(spec.seed + draw, model.native_side // 8)
    for step, following in zip(steps, steps[1:], strict=False):
        if step == level:
            break
        said = predicted(latents, step, spec.plan.source())
        signal, sigma = alphas[step].sqrt(), (1 - alphas[step]).sqrt()
        clean, noise = signal * latents - sigma * said, sigma * latents + signal * said  # the pocket model says v
        latents = alphas[following].sqrt() * clean + (1 - alphas[following]).sqrt() * noise
    source = predicted(latents, level, spec.plan.source())
    return 100 * float((predicted(latents, level, spec.plan.weights(entry)) - source).norm() / source.norm())


@pytest.mark.parametrize("more", [{}, {"examined": 0.5, "others": 0.0, "te": 0.7, "unet": 0.9}])
def test_influences_are_those_of_one_prediction_each(model, some, filled, more):
    spec = spec_of(**more)
    found = measure_prediction(model, some, spec, filled=filled)
    levels = spec.levels_of(1000)
    assert levels == [167, 500, 833]
    table = {row.block: row for row in found.rows}
    for entry in (("BASE",), ("M00", "OUT03")) if not more else (("BASE",),):
        samples = {
            level: [one_by_one(model, some, spec, "red apple", entry, draw, level) for draw in (0, 1)]
            for level in levels
        }
        row = table[" ".join(entry)]
        for level in levels:
            assert row.values[f"influence_{level}"].mean == pytest.approx(sum(samples[level]) / 2, rel=2e-3)
        every = torch.tensor([sample for two in samples.values() for sample in two])
        assert row.values["influence"].mean == pytest.approx(float(every.mean()), rel=2e-3)
        assert row.values["influence"].spread == pytest.approx(float(every.std(correction=0)), rel=1e-2)
    neutral = [
        one_by_one(model, some, spec, spec.neutrals[0], ("IN01",), draw, level) for draw in (0, 1) for level in levels
    ]
    assert table["IN01"].values["neutral"].mean == pytest.approx(sum(neutral) / len(neutral), rel=2e-3)
    assert not table["IN00"].has_modules
    assert found.floor < 1e-3 < table["IN01"].values["influence"].mean


def test_the_model_is_what_it_was(model, some, filled):
    latents, step, words = noise_of(1, 16), torch.tensor([300]), model.encode_text(["red apple"])
    with torch.no_grad():
        before = model.predict(latents, step, words)
        measure_prediction(model, some, spec_of(), filled=filled)
        assert torch.equal(before, model.predict(latents, step, words))
    assert not any(layer._forward_hooks for layer in model.layers.values())


def test_its_calls_are_what_it_said(model, some, filled):
    class Counted(Stoppable):
        last = (0, 0)

        def update(self, done, total, text=""):
            self.last = (done, total)

    progress, spec = Counted(), spec_of()
    measure_prediction(model, some, spec, filled=filled, progress=progress)
    assert progress.last == (spec.calls(filled), spec.calls(filled))


def test_it_can_be_stopped_and_leaves_nothing_behind(model, some, filled):
    progress = Stoppable()
    progress.stop()
    with pytest.raises(StoppedError):
        measure_prediction(model, some, spec_of(), filled=filled, progress=progress)
    assert not any(layer._forward_hooks for layer in model.layers.values())


def test_selectivity_is_a_ratio_with_spread_and_not_known_below_the_floor():
    trigger, neutral = torch.tensor([[[2.0, 6.0]]]), torch.tensor([[[1.0, 2.0]]])
    found = selectivity(trigger, neutral, 1e-3)
    assert found.mean == pytest.approx(4 / 1.5)
    assert found.spread == pytest.approx(0.5)
    assert math.isnan(selectivity(trigger * 1e-6, neutral * 1e-6, 1e-3).mean)


def test_a_step_with_velocity_is_the_step_with_noise():
    alphas = torch.linspace(0.99, 0.01, 10).double()
    latents, noise = torch.randn(1, 4, 4, 4).double(), torch.randn(1, 4, 4, 4).double()
    signal, sigma = alphas[7].sqrt(), (1 - alphas[7]).sqrt()
    clean = (latents - sigma * noise) / signal
    velocity = signal * noise - sigma * clean
    for following in (3, None):
        one = stepped(latents, noise, alphas, 7, following, velocity=False)
        torch.testing.assert_close(stepped(latents, velocity, alphas, 7, following, velocity=True), one)
    torch.testing.assert_close(one, clean)


def test_without_a_trigger_or_neutral_captions_it_is_refused():
    with pytest.raises(InputError, match="one kind is missing"):
        spec_of(triggers=())
    with pytest.raises(InputError, match="one kind is missing"):
        spec_of(neutrals=())

"""Found weights: the quadratic's least against brute force, losses against single attachments, the search itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib_lora.analysis.fit import fit
from lib_lora.analysis.fit.ask import neutral_questions, outside, picture_questions
from lib_lora.analysis.fit.fit import blocks_of, find_weights
from lib_lora.analysis.fit.quadratic import Quadratic, least, least_while, on_grid
from lib_lora.analysis.fit.samples import Predictor, Question, each_loss
from lib_lora.analysis.fit.spec import FitSpec, kept_share
from lib_lora.analysis.fit.window import Window, part_of, windows
from lib_lora.errors import InputError, StoppedError
from lib_lora.live.attach import attach
from lib_lora.live.targets import uniform_multipliers
from lib_lora.progress import Progress, Stoppable
from tests.conftest import random_lora

DISTURB = ("IN01", "IN02", "OUT11")
BOX = (np.zeros(2), np.ones(2))


def around(center, weights):
    """``Σ weights (d − center)²``."""
    center, weights = np.array(center, float), np.array(weights, float)
    return Quadratic(float(weights @ center**2), -weights * center, np.diag(weights))


def brute(drift, subject, allowed):
    """The best of a fine grid."""
    line = np.linspace(0, 1, 201)
    points = [np.array([x, y]) for x in line for y in line]
    fitting = [point for point in points if subject.value(point) <= allowed]
    return min(fitting, key=drift.value)


def test_a_quadratic_is_its_own_formula():
    quadratic = around([1, 2], [3, 4])
    assert quadratic.value(np.array([2.0, 0.0])) == pytest.approx(3 * 1 + 4 * 4)


def test_the_least_within_bounds_of_a_correlated_quadratic():
    curve = np.array([[2.0, 1.5], [1.5, 2.0]])
    quadratic = Quadratic(0.0, np.array([-3.0, 0.5]), curve)
    assert least(quadratic, *BOX) == pytest.approx(brute(quadratic, around([0, 0], [0, 0]), 1.0), abs=0.006)


@pytest.mark.parametrize("allowed", [0.05, 0.3, 0.8, 1.5])
def test_the_least_drift_within_the_limit_is_that_of_brute_force(allowed):
    subject = Quadratic(2.0, np.array([-1.0, -1.0]), np.array([[1.0, 0.4], [0.4, 1.5]]))
    subject = Quadratic(1.4, subject.slope, subject.curve)
    drift = Quadratic(0.0, np.zeros(2), np.array([[1.0, 0.3], [0.3, 0.1]]))
    least_possible = subject.value(least(subject, *BOX))
    found = least_while(drift, subject, max(allowed, least_possible), *BOX)
    if allowed > least_possible:
        assert subject.value(found) <= allowed + 1e-6
        assert drift.value(found) == pytest.approx(drift.value(brute(drift, subject, allowed)), abs=0.01)


def test_where_nothing_is_within_the_limit_the_subject_is_kept_as_well_as_can_be():
    subject, drift = around([0.8, 0.6], [1, 1]), around([0, 0], [1, 1])
    assert least_while(drift, subject, -1.0, *BOX) == pytest.approx([0.8, 0.6], abs=1e-4)


def test_weights_on_the_grid():
    subject, drift = around([0.9, 0.1], [1, 1]), around([0, 0], [1, 1])
    at = np.array([0.25, 0.25])
    found = at + on_grid(drift, Quadratic(0, np.zeros(2), np.zeros((2, 2))).plus(subject, 1), 1e9, at, -at, 1 - at)
    assert set(found) <= {0.0, 0.5, 1.0}


@pytest.fixture(scope="module")
def scene(model):
    """A LoRA of two parts: what the subject needs, and three blocks that only disturb it."""
    lora = random_lora(model, seed=7, size=0.02)
    questions = neutral_questions(model, ["red apple"], levels=2, seed=1)
    with torch.no_grad(), attach(model, lora, uniform_multipliers("sd1") | dict.fromkeys(DISTURB, 0.0)):
        answers = [
            model.predict(one.latents, torch.tensor([one.step]), model.encode_text([one.caption])) for one in questions
        ]
    subject = [
        type(one)(one.latents, one.step, one.caption, said) for one, said in zip(questions, answers, strict=True)
    ]
    return lora, subject, neutral_questions(model, ["blue circle"], levels=2, seed=2)


def test_a_price_for_weights_that_differ_draws_them_together_and_no_further():
    subject, drift = around([1.0, 0.2], [1, 1]), around([0, 0], [1, 1])
    at, low, high = np.array([0.5, 0.5]), np.full(2, -0.5), np.full(2, 0.5)
    steps = [
        least_while(drift.evened(share, at), subject.evened(share, at), 0.4, low, high, limited=subject)
        for share in (0.0, 0.5, 20.0)
    ]
    apart = [abs(float(np.subtract(*(at + step)))) for step in steps]
    assert apart[0] > 1.2 * apart[1] > 0
    assert apart[2] == pytest.approx(0, abs=0.03)
    assert max(subject.value(step) for step in steps) <= 0.4 + 1e-6
    assert min(drift.value(step) for step in steps) == drift.value(steps[0])
    even = around([0.4, 0.4], [1, 1]).evened(3.0, np.array([0.7, 0.7]))
    assert least(even, np.full(2, -0.7), np.full(2, 0.3)) == pytest.approx([0.3, 0.3])


def test_it_finds_the_blocks_that_the_subject_needs(model, scene, monkeypatch):
    monkeypatch.setattr(fit, "EVEN", 0.0)  # two questions alone would hardly be believed
    lora, subject, neutral = scene
    found = find_weights(model, lora, subject, neutral, FitSpec(keep=1.0, rounds=2))
    assert found.found.subject <= found.allowed * 1.001
    assert found.found.drift < found.plain.drift
    assert max(found.weights[block] for block in DISTURB) < 0.3
    others = [value for block, value in found.weights.items() if block not in DISTURB]
    assert sum(others) / len(others) > 0.4
    assert found.kept >= 0.999
    assert not any(layer._forward_hooks for layer in model.layers.values())


def test_losses_are_those_of_single_attachments(model, scene):
    lora, subject, _ = scene
    every = uniform_multipliers("sd1")
    settings = [every, every | {"BASE": 0.3, "OUT05": 0.5, "IN01": 0.0}, dict.fromkeys(every, 0.0)]
    with torch.no_grad(), attach(model, lora, 0.0, strategy="factors") as attached:
        ask = Predictor(model, attached, clip_skip=1, chunk=2, progress=Progress(), total=6)
        found = each_loss(ask, subject, settings).mean(dim=0).tolist()
    assert ask.calls == 6
    for setting, loss in zip(settings, found, strict=True):
        with torch.no_grad(), attach(model, lora, setting):
            single = [
                (model.predict(one.latents, torch.tensor([one.step]), model.encode_text([one.caption])) - one.target)
                for one in subject
            ]
        assert loss == pytest.approx(float(torch.cat(single).square().mean()), rel=1e-3, abs=1e-9)


def test_a_stopped_search_goes_on_from_its_rounds(model, scene):
    lora, subject, neutral = scene
    states, progress = [], Stoppable()

    def keep(state):
        states.append(state)
        progress.stop()

    with pytest.raises(StoppedError):
        find_weights(model, lora, subject, neutral, FitSpec(rounds=2), keep=keep, progress=progress)
    assert len(states[0].points) == 1
    whole = find_weights(model, lora, subject, neutral, FitSpec(rounds=2))
    again = find_weights(model, lora, subject, neutral, FitSpec(rounds=2), state=states[0])
    assert again.weights == pytest.approx(whole.weights, abs=2e-3)
    assert again.calls < whole.calls


def test_steps_in_which_the_lora_does_nothing_for_the_subject_are_found(model):
    """The subject needs it in the noisier two thirds; in the rest the model's own answer is wanted."""
    lora = random_lora(model, seed=7, size=0.02)
    asked = neutral_questions(model, ["red apple", "ghost"], levels=3, seed=1)

    def say(one, numbers):
        with torch.no_grad(), attach(model, lora, numbers):
            return model.predict(one.latents, torch.tensor([one.step]), model.encode_text([one.caption]))

    clearest = min(one.step for one in asked)
    subject = [replace(one, target=say(one, 0.0 if one.step == clearest else 1.0)) for one in asked]
    neutral = neutral_questions(model, ["blue circle"], levels=3, seed=2)
    spec = FitSpec(keep=1.0, rounds=1)
    whole, found = (find_weights(model, lora, subject, neutral, replace(spec, parts=parts)) for parts in (1, 3))
    assert (found.window.first, found.window.last) == (0, 2)
    assert (found.window.start, found.window.stop) == (0.0, 0.67)
    assert found.found.drift < 0.9 * whole.found.drift
    on, off = uniform_multipliers("sd1") | found.weights, dict.fromkeys(uniform_multipliers("sd1"), 0.0)
    off["BASE"] = found.weights["BASE"]  # a tag's start and stop leave the text encoder on
    errors = [(say(one, off if one.step == clearest else on) - one.target).square().mean() for one in subject]
    assert found.found.subject == pytest.approx(float(torch.stack(errors).mean()), rel=1e-3)


def test_the_parts_of_sampling_begin_with_the_noisiest():
    assert [(one.first, one.last) for one in windows(2)] == [(0, 2), (0, 1), (1, 2)]
    latents = torch.zeros(1, 4, 8, 8)
    assert [part_of(Question(latents, step, ""), 1000, 4) for step in (0, 249, 250, 999)] == [3, 3, 2, 0]
    assert not Window(1, 4, 4).is_whole


def test_only_halves_are_found_where_they_are_asked_for(model, scene):
    lora, subject, neutral = scene
    found = find_weights(model, lora, subject, neutral, FitSpec(keep=0.9, rounds=1, halves=True))
    assert set(found.weights.values()) <= {0.0, 0.5, 1.0}


def test_a_lora_that_has_not_learned_the_pictures_is_refused(model, scene):
    lora, subject, neutral = scene
    with torch.no_grad():
        own = [
            model.predict(one.latents, torch.tensor([one.step]), model.encode_text(["red apple"])) for one in subject
        ]
    taught = [replace(one, target=said) for one, said in zip(subject, own, strict=True)]
    with pytest.raises(InputError, match="has not learned this subject"):
        find_weights(model, lora, taught, neutral, FitSpec())


def test_pictures_are_noised_as_the_model_was_trained_and_masks_split_them(model):
    clean, mask = torch.randn(4, 8, 8), torch.zeros(1, 8, 8)
    mask[..., :4] = 1
    (one,) = picture_questions(model, [clean], ["x"], levels=1, seed=3, masks=[mask])
    alpha = model.alphas_cumprod[one.step]
    # the pocket model says velocities: √ᾱ x − √(1−ᾱ) v is the picture again
    torch.testing.assert_close(
        (alpha.sqrt() * one.latents - (1 - alpha).sqrt() * one.target)[0], clean, atol=1e-4, rtol=1e-4
    )
    errors = one.errors(one.target + 1.0)
    assert float(errors.square().sum()) == pytest.approx(4 * 8 * 4)
    (rest,) = outside([one])
    assert rest.target is None
    assert torch.equal(rest.counts[0], 1 - mask)


def test_the_search_begins_with_the_least_one_weight_that_keeps_the_subject(model, scene):
    lora, subject, neutral = scene
    found = find_weights(model, lora, subject, neutral, FitSpec(keep=0.6, rounds=0))
    (value,) = set(found.weights.values())
    assert 0 < value < 1
    assert found.found.subject <= found.allowed * 1.001 or value == 1
    assert found.found.drift < found.plain.drift
    assert set(find_weights(model, lora, subject, neutral, FitSpec(keep=1.0, rounds=0)).weights.values()) == {1.0}


def test_the_share_that_is_kept():
    from lib_lora.analysis.fit.spec import Losses

    assert kept_share(Losses(1.0, 0), Losses(0.5, 1), Losses(0.6, 0.5)) == pytest.approx(0.8)


def test_every_block_of_the_file_gets_a_weight_and_what_lies_outside_none(model, scene):
    assert len(blocks_of(model, scene[0])) == 17
    assert blocks_of(model, scene[0])[0] == "BASE"


def test_bounds_that_cannot_be_are_refused():
    with pytest.raises(InputError):
        FitSpec(low=1.0, high=0.5)

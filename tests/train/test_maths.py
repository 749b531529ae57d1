from __future__ import annotations

import math

import pytest
import torch

from lib_lora.train.loss import noised, snr_weight
from lib_lora.train.schedulers import SCHEDULERS, ScheduleStep, factor

ALPHAS = torch.tensor([0.99, 0.5, 0.01])


def test_noised_latents_mix_signal_and_noise_by_the_schedule():
    clean, noise = torch.ones(3, 4, 2, 2), torch.full((3, 4, 2, 2), 2.0)
    seen = noised(clean, noise, torch.tensor([0, 1, 2]), alphas_cumprod=ALPHAS, prediction_type="epsilon")
    for row, alpha in enumerate(ALPHAS.tolist()):
        assert seen.latents[row, 0, 0, 0].item() == pytest.approx(math.sqrt(alpha) + 2 * math.sqrt(1 - alpha))
    assert torch.equal(seen.target, noise)
    torch.testing.assert_close(seen.snr, ALPHAS / (1 - ALPHAS))


def test_v_recovers_noise_and_signal():
    clean, noise = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    seen = noised(clean, noise, torch.tensor([0, 1, 2]), alphas_cumprod=ALPHAS, prediction_type="v_prediction")
    alpha = ALPHAS.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(alpha.sqrt() * seen.latents - (1 - alpha).sqrt() * seen.target, clean)


def test_min_snr_weights_follow_their_definition():
    snr = torch.tensor([0.1, 5.0, 50.0])
    torch.testing.assert_close(snr_weight(snr, 5, "epsilon"), torch.tensor([1.0, 1.0, 0.1]))
    torch.testing.assert_close(snr_weight(snr, 5, "v_prediction"), torch.tensor([0.1 / 1.1, 5 / 6, 5 / 51]))
    assert torch.equal(snr_weight(snr, 0, "epsilon"), torch.ones(3))


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_every_course_starts_at_one_and_warms_up(name):
    assert factor(name, ScheduleStep(0, 100)) == pytest.approx(1.0)
    assert [factor(name, ScheduleStep(step, 100, warmup=4)) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(name, ScheduleStep(4, 100, warmup=4)) == pytest.approx(1.0)
    assert all(0 <= factor(name, ScheduleStep(step, 100)) <= 1 for step in range(101))


def test_one_restart_equals_cosine_and_two_begin_again():
    for step in range(0, 100, 7):
        assert factor("cosine_with_restarts", ScheduleStep(step, 100)) == pytest.approx(
            factor("cosine", ScheduleStep(step, 100))
        )
    assert factor("cosine_with_restarts", ScheduleStep(50, 100, cycles=2)) == pytest.approx(1.0)
    assert factor("rex", ScheduleStep(50, 100)) == pytest.approx(0.5 / (0.1 + 0.9 * 0.5))

"""Loss and noise against numbers that sd-scripts' own functions made of the same tensors and seeds."""

from __future__ import annotations

import random

import pytest
import torch

from lib_lora.architectures.registry import architecture_of
from lib_lora.errors import InputError
from lib_lora.formats.lora import read_lora
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train.loss import Noised, distance, noised, step_weight
from lib_lora.train.noise import draw_noise, multiresolution, perturbation
from lib_lora.train.options import from_mapping
from lib_lora.train.options.loss import LossOptions
from lib_lora.train.options.noise import NoiseOptions
from lib_lora.train.recipes import ModelFacts
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.saving import save_lora
from lib_lora.train.step import one_step
from lib_lora.train.training import start
from lib_lora.train.unused import unused

TIMESTEPS = torch.tensor([0, 200, 600, 999])
FIRST, LAST = architecture_of("sd1").betas
ALPHAS = torch.cumprod(1 - torch.linspace(FIRST**0.5, LAST**0.5, 1000, dtype=torch.float64) ** 2, 0).float()

DISTANCES = {
    ("l2", "snr"): [2.0193589, 1.7174339, 2.2553933, 2.4090831],
    ("l1", "snr"): [1.1363453, 1.01504, 1.1765434, 1.2643449],
    ("huber", "snr"): [1.1896614, 0.6596243, 0.376242, 0.2430379],
    ("huber", "exponential"): [1.4694872, 1.0207554, 0.6827648, 0.3413112],
    ("huber", "constant"): [0.3023279, 0.2668689, 0.3148806, 0.3406055],
    ("smooth_l1", "snr"): [1.2526587, 1.4205251, 2.0512667, 2.3438599],
    ("smooth_l1", "exponential"): [0.9796581, 1.0785257, 1.8120908, 2.2701743],
    ("smooth_l1", "constant"): [2.0155191, 1.7791262, 2.0992041, 2.2707031],
}
"""huber_c 0.1, huber_scale 1.5, timesteps as above; prediction and target are drawn one after the other, seed 0."""
NOISE, VELOCITY = "epsilon", "v_prediction"
WEIGHTS = [
    (NOISE, {"min_snr_gamma": 5.0}, [0.00425372412, 1.0, 1.0, 1.0]),
    (VELOCITY, {"min_snr_gamma": 5.0}, [0.00425010873, 0.753691792, 0.160782471, 0.00466009416]),
    (NOISE, {"debiased_estimation_loss": True}, [0.0316227786, 0.57166636, 2.28464079, 14.6146479]),
    (VELOCITY, {"debiased_estimation_loss": True}, [0.00099900097, 0.246308282, 0.839217544, 0.99533987]),
    (VELOCITY, {"scale_v_pred_loss_like_noise_pred": True}, [0.99900103, 0.75369179, 0.16078247, 0.004660094]),
    (NOISE, {"min_snr_gamma": 0.0, "v_pred_like_loss": 0.5}, [1.50049996, 1.66340113, 4.10979176, 108.293968]),
    (
        NOISE,
        {"min_snr_gamma": 5.0, "v_pred_like_loss": 0.5, "debiased_estimation_loss": True},
        [0.00020183912, 0.95091045, 9.3893976, 1582.67822],
    ),
    (
        VELOCITY,
        {"min_snr_gamma": 5.0, "scale_v_pred_loss_like_noise_pred": True, "debiased_estimation_loss": True},
        [4.2416209e-06, 0.139915749, 0.0216946155, 2.16152766e-05],
    ),
]
SHOWN = ((1, 2, 3, 4), (0, 0, 5, 5))
NOISES = [
    ({}, [0.00634220103, 1.00643706, -0.0540934168, 0.613256574], [626, 835]),
    ({"noise_offset": 0.1}, [-0.0135285696, 1.00697350, -0.0054515712, 0.528287709], [546, 790]),
    (
        {"noise_offset": 0.1, "noise_offset_random_strength": True},
        [0.0421290584, 1.01168525, -0.0010307133, 0.709760845],
        [790, 215],
    ),
    (
        {"noise_offset": 0.1, "adaptive_noise_scale": 0.5},
        [-0.0426243208, 1.01271927, 0.0601278208, 0.396167189],
        [546, 790],
    ),
    (
        {"noise_offset": 0.1, "adaptive_noise_scale": -0.3},
        [0.0039146175, 1.00627851, -0.0447992012, 0.607560039],
        [546, 790],
    ),
]
"""Mean, deviation and two values of the noise, and the timesteps that are drawn after it; seed 7."""
BASE = {"images": "p", "name": "n"}


def clean():
    return torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(3)) + 0.3


def summary(noise):
    return [noise.mean().item(), noise.std().item(), *(noise[at].item() for at in SHOWN)]


@pytest.mark.parametrize(("loss", "schedule"), list(DISTANCES))
def test_each_loss_measures_a_distance_as_sd_scripts_does(loss, schedule):
    generator = torch.Generator().manual_seed(0)
    predicted, target = (torch.randn(4, 4, 6, 8, generator=generator) for _ in range(2))
    snr = ALPHAS[TIMESTEPS] / (1 - ALPHAS[TIMESTEPS])
    options = LossOptions(loss_type=loss, huber_schedule=schedule, huber_scale=1.5)
    found = distance(predicted, Noised(predicted, TIMESTEPS, target, snr), options).mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, torch.tensor(DISTANCES[loss, schedule]), rtol=2e-6, atol=0)


@pytest.mark.parametrize("loss", ["huber", "smooth_l1"])
def test_a_small_error_keeps_its_digits(loss):
    options = LossOptions(loss_type=loss, huber_schedule="constant", huber_c=1.0)
    target = torch.zeros(1, 1, 1, 1)
    found = distance(target + 1e-4, Noised(target, TIMESTEPS[:1], target, torch.ones(1)), options)
    assert found.item() == pytest.approx(1e-8, rel=1e-5)


@pytest.mark.parametrize(("prediction", "options", "expected"), WEIGHTS)
def test_weights_of_the_noise_levels(prediction, options, expected):
    snr = ALPHAS[TIMESTEPS] / (1 - ALPHAS[TIMESTEPS])
    found = step_weight(snr, LossOptions(**options), prediction)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=2e-5, atol=0)


def test_weights_stay_finite_where_nothing_of_the_picture_is_left():
    nothing = torch.zeros(1)
    every = LossOptions(
        min_snr_gamma=5.0, debiased_estimation_loss=True, scale_v_pred_loss_like_noise_pred=True, v_pred_like_loss=1.0
    )
    assert step_weight(nothing, every, VELOCITY).tolist() == [0.0]
    assert step_weight(nothing, LossOptions(debiased_estimation_loss=True), VELOCITY).tolist() == [1.0]
    for loss in ("huber", "smooth_l1"):
        ones = torch.ones(1, 1, 1, 1)
        seen = Noised(ones, torch.tensor([999]), ones * 2, nothing)
        assert torch.isfinite(distance(ones, seen, LossOptions(loss_type=loss))).all()


@pytest.mark.parametrize(("options", "expected", "timesteps"), NOISES)
def test_noise_is_drawn_as_the_reference_draws_it(options, expected, timesteps):
    generator = torch.Generator().manual_seed(7)
    noise = draw_noise(clean(), NoiseOptions(**options), generator)
    assert summary(noise) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert torch.randint(0, 1000, (2,), generator=generator).tolist() == timesteps


@pytest.mark.parametrize(
    ("offset", "iterations", "discount", "expected"),
    [
        (0.0, 6, 0.3, [0.026689986, 1.0, 1.42012620, 0.980076551]),
        (0.1, 8, 0.6, [-0.0358255616, 1.0, 0.58831048, 0.0710292310]),
    ],
)
def test_noise_of_several_resolutions(offset, iterations, discount, expected):
    generator = torch.Generator().manual_seed(7)
    first = draw_noise(clean(), NoiseOptions(noise_offset=offset), generator)
    noise = multiresolution(first, iterations, discount, random.Random(11), generator)
    assert summary(noise) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    options = NoiseOptions(multires_noise_iterations=iterations)
    one, two = (draw_noise(clean(), options, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.std().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("random_strength", "expected"),
    [(False, [0.0776395872, -0.313772857]), (True, [0.0778821707, -0.128415272])],
)
def test_what_the_model_sees_is_disturbed_and_its_target_is_not(random_strength, expected):
    options = NoiseOptions(ip_noise_gamma=0.1, ip_noise_gamma_random_strength=random_strength)
    generator = torch.Generator().manual_seed(7)
    noise = draw_noise(clean(), options, generator)
    timesteps = torch.randint(0, 1000, (2,), generator=generator)
    disturbed = perturbation(noise.shape, options, generator)
    seen = noised(clean(), noise, timesteps, alphas_cumprod=ALPHAS, prediction_type=NOISE, disturbed=disturbed)
    assert [seen.latents.mean().item(), seen.latents[1, 2, 3, 4].item()] == pytest.approx(expected, rel=1e-5)
    assert torch.equal(seen.target, noise)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"min_timestep": 500, "max_timestep": 500}, "min_timestep, max_timestep"),
        ({"adaptive_noise_scale": 0.1}, "adaptive_noise_scale"),
        ({"loss_type": "l3"}, "loss_type"),
        ({"huber_c": 0}, "huber_c"),
        ({"max_timestep": 1001}, "max_timestep"),
    ],
)
def test_what_cannot_be_is_refused_with_the_options(options, where):
    with pytest.raises(InputError) as refused:
        from_mapping({**BASE, **options}, where="t")
    assert refused.value.where == where


@pytest.mark.parametrize(
    ("chosen", "model", "other"),
    [({"scale_v_pred_loss_like_noise_pred": True}, NOISE, VELOCITY), ({"v_pred_like_loss": 0.5}, VELOCITY, NOISE)],
)
def test_what_is_meant_for_another_model_is_said(chosen, model, other):
    options = from_mapping({**BASE, **chosen}, where="t")
    (said,) = unused(options, ModelFacts(512, model))
    assert said.startswith(f"not used: {next(iter(chosen))} (the model predicts ")
    assert unused(options, ModelFacts(512, other)) == ()


def test_a_run_with_all_of_it_learns_in_its_range_and_says_so_in_the_file(model, options_for, tmp_path):
    chosen = {
        "loss_type": "huber",
        "debiased_estimation_loss": True,
        "v_pred_like_loss": 0.1,
        "noise_offset": 0.1,
        "adaptive_noise_scale": 0.1,
        "multires_noise_iterations": 3,
        "ip_noise_gamma": 0.1,
        "min_timestep": 600,
        "max_timestep": 602,
    }
    options = options_for(steps=1, **chosen)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    seen, predict = [], type(model).predict

    def watched(self, latents, timesteps, cond):
        seen.extend(timesteps.tolist())
        return predict(self, latents, timesteps, cond)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "predict", watched)
        with attach(model, training.lora, 1.0, strategy="factors") as training.attached:
            row = one_step(training)
    assert set(seen) <= {600, 601}
    assert 0 < row["loss"] < 10
    written = read_lora(save_lora(training, tmp_path / "n.safetensors")).metadata
    assert {key: written[f"ss_{key}"] for key in ("loss_type", "huber_schedule", "debiased_estimation")} == {
        "loss_type": "huber",
        "huber_schedule": "snr",
        "debiased_estimation": "True",
    }
    assert (written["ss_min_snr_gamma"], written["ss_multires_noise_iterations"]) == ("None", "3")

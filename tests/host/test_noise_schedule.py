"""Zero terminal SNR: found, rescaled as sd-scripts rescales, trained on and sampled with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib_lora.errors import InputError
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.host.noise_schedule import IN_VAIN, Marks, Schedule, marks_in, marks_of, zero_terminal_snr
from lib_lora.host.studio import POCKET
from lib_lora.host.studio.checkpoint import load_checkpoint
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.host.studio.sampling import SAMPLERS, sample
from lib_lora.train.loss import noised, schedule_for, snr_weight

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
PLAIN = torch.cumprod(1 - BETAS, dim=0)
# ᾱ at timesteps, from sd-scripts' own fix_noise_scheduler_betas_for_zero_terminal_snr over SD's schedule.
OF_SD_SCRIPTS = {
    0: 9.991499782e-01,
    1: 9.982334971e-01,
    100: 8.867610693e-01,
    500: 2.410186380e-01,
    800: 1.764127426e-02,
    900: 2.960391343e-03,
    990: 1.653038635e-05,
    998: 1.967963357e-07,
    999: 0.0,
}
MARKS = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The pocket model's tensors with both marks, and no config beside them."""
    path = tmp_path_factory.mktemp("marked") / "marked.safetensors"
    write_tensors(path, {**read_tensors(POCKET)[0], **MARKS}, {})
    return load_checkpoint(path, tokenizer=POCKET.parent / "text")


def model_of(checkpoint, marks: Marks) -> DiffusersModel:
    changed = replace(checkpoint, marks=marks, prediction_type="v_prediction" if marks.velocity else "epsilon")
    return DiffusersModel(changed, device=torch.device("cpu"), dtype=torch.float32)


def test_the_rescaled_schedule_is_that_of_sd_scripts():
    ours = zero_terminal_snr(PLAIN)
    for step, expected in OF_SD_SCRIPTS.items():
        assert ours[step].item() == pytest.approx(expected, rel=1e-6), step
    snr = [alpha[990] / (1 - alpha[990]) for alpha in (PLAIN, ours)]
    assert snr[0] / snr[1] == pytest.approx(315.7, abs=0.1)
    assert torch.equal(zero_terminal_snr(ours), ours)


@pytest.mark.parametrize(
    ("names", "metadata", "marks"),
    [
        ((), {}, Marks()),
        (("v_pred", "ztsnr"), {}, Marks(True, True)),
        (("v_pred",), {}, Marks(True, False)),
        ((), {"modelspec.prediction_type": "v", "ss_zero_terminal_snr": "True"}, Marks(True, True)),
        ((), {"modelspec.prediction_type": "epsilon", "ss_zero_terminal_snr": "False"}, Marks()),
    ],
)
def test_marks_of_a_checkpoint(tmp_path, names, metadata, marks):
    assert marks_of(names, metadata) == marks
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(1), **{name: torch.zeros(0) for name in names}}, metadata)
    assert marks_in(path) == marks


def test_a_file_without_a_header_has_no_marks(tmp_path):
    assert marks_in(tmp_path / "gone.safetensors") == Marks()
    for name in ("x.ckpt", "x.safetensors"):
        (tmp_path / name).write_bytes(b"no header at all")
        assert marks_in(tmp_path / name) == Marks()


def test_a_marked_checkpoint_is_trained_to_pure_noise(checkpoint):
    assert (checkpoint.prediction_type, checkpoint.marks) == ("v_prediction", Marks(True, True))
    model = model_of(checkpoint, checkpoint.marks)
    assert model.schedule.zero_terminal
    for step, expected in OF_SD_SCRIPTS.items():
        assert model.alphas_cumprod[step].item() == pytest.approx(expected, rel=1e-6), step
    plain = model_of(checkpoint, Marks(velocity=True))
    assert not plain.schedule.zero_terminal
    assert plain.alphas_cumprod[999] > 0.004


def test_a_model_that_predicts_noise_keeps_its_schedule_and_that_is_said(checkpoint):
    model = model_of(checkpoint, Marks(zero_terminal=True))
    assert not model.schedule.zero_terminal
    assert model.schedule.notes == (IN_VAIN,)
    assert model.alphas_cumprod[999] > 0.004
    with pytest.raises(InputError, match="predicts noise"):
        schedule_for(model, "on")
    assert schedule_for(model, "off").alphas_cumprod is model.schedule.plain


def test_at_the_last_step_the_loss_asks_for_the_picture_alone():
    clean, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    alphas, steps = zero_terminal_snr(PLAIN), torch.tensor([999, 999])
    seen = noised(clean, noise, steps, alphas_cumprod=alphas, prediction_type="v_prediction")
    assert torch.equal(seen.latents, noise)
    assert torch.equal(seen.target, -clean)
    for kind, weight in (("v_prediction", 0.0), ("epsilon", 1.0)):
        assert snr_weight(seen.snr, 5.0, kind).tolist() == [weight, weight]


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_begins_at_pure_noise_and_finds_the_picture(sampler):
    """A model that knows one picture only, whose velocity is known exactly, must come out at that picture."""
    plain = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    schedule = Schedule(PLAIN, zero_terminal=True)
    alphas, picture, asked = schedule.alphas_cumprod.clamp(min=2.0**-24), torch.randn(1, 4, 8, 8), []

    def velocity(latents, timestep, call):
        asked.append(float(timestep))
        place = float(timestep)
        low, share = int(place), place - int(place)
        alpha = torch.lerp(alphas[low], alphas[min(low + 1, 999)], share)
        noise = (latents - alpha.sqrt() * picture) / (1 - alpha).sqrt()
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * picture

    made = sample(
        velocity,
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
        sampler=sampler,
        prediction_type="v_prediction",
        schedule=schedule.for_sampling(plain),
        steps=12,
        generators=[torch.Generator().manual_seed(2)],
    )
    assert asked[0] == 999
    torch.testing.assert_close(made, picture, atol=0.1, rtol=0.05)

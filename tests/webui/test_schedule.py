"""Which noise schedule a training takes from the host: its setting, its own detection, the marks in the file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_lora.formats.files import write_tensors
from lib_lora.host.base import Conditioning
from lib_lora.host.noise_schedule import IN_VAIN, zero_terminal_snr
from lib_lora.host.webui.model.host_model import NOT_RESCALED, NOT_VELOCITY, ZERO_TERMINAL, HostModel
from lib_lora.host.webui.model.layers import size_embedding
from lib_lora.host.webui.model.live_model import WebuiModel, current_model


def marked(path: Any, *marks: str) -> str:
    write_tensors(path, {"x": torch.ones(1), **{mark: torch.zeros(0) for mark in marks}}, {})
    return str(path)


@pytest.mark.parametrize(
    ("says", "setting", "marks", "predicts", "rescaled", "notes"),
    [
        ("v", "Default", (), "v_prediction", False, ()),
        ("v", ZERO_TERMINAL, (), "v_prediction", True, ()),
        ("v", ZERO_TERMINAL, ("v_pred", "ztsnr"), "v_prediction", True, ()),
        ("v", "Default", ("v_pred", "ztsnr"), "v_prediction", True, (NOT_RESCALED,)),
        ("eps", "Default", ("v_pred", "ztsnr"), "v_prediction", True, (NOT_RESCALED, NOT_VELOCITY)),
        ("eps", ZERO_TERMINAL, (), "epsilon", False, (IN_VAIN,)),
        ("eps", "Default", (), "epsilon", False, ()),
    ],
)
def test_the_schedule_follows_setting_and_file(
    a1111, tmp_path, says, setting, marks, predicts, rescaled, notes
) -> None:
    a1111.sd_model.parameterization = says
    a1111.sd_model.sd_checkpoint_info.filename = marked(tmp_path / "x.safetensors", *marks)
    a1111.opts.sd_noise_schedule = setting
    model = current_model()
    assert (model.prediction_type, model.schedule.zero_terminal, model.schedule.notes) == (predicts, rescaled, notes)
    plain = a1111.sd_model.alphas_cumprod
    assert torch.equal(model.alphas_cumprod, zero_terminal_snr(plain) if rescaled else plain)


def test_a_schedule_that_the_last_picture_left_is_not_rescaled_again(a1111: Any) -> None:
    live = a1111.sd_model
    live.parameterization, live.alphas_cumprod_original = "v", live.alphas_cumprod.clone()
    live.alphas_cumprod = zero_terminal_snr(live.alphas_cumprod)
    assert current_model().alphas_cumprod[-1] > 0.004


def test_the_setting_counts_from_the_moment_it_is_changed(a1111: Any) -> None:
    a1111.sd_model.parameterization = "v"
    model = current_model()
    assert not model.schedule.zero_terminal
    a1111.opts.sd_noise_schedule = ZERO_TERMINAL
    assert current_model() is model
    assert model.schedule.zero_terminal


def test_forges_own_detection_is_believed(forge: Any) -> None:
    forge.load_model()
    live = forge.modules.sd_models.model_data.sd_model
    live.forge_objects_original.unet.model.predictor.prediction_type = "v_prediction"
    live.model_config = SimpleNamespace(ztsnr=True)
    model = current_model()
    assert (model.schedule.zero_terminal, model.schedule.notes) == (True, ())


class Recorder(HostModel):
    """SDXL's parts, with a UNet that only remembers what it was told."""

    family, device, plain_alphas_cumprod = "sdxl", torch.device("cpu"), torch.ones(3)

    def __init__(self) -> None:
        self.unet, self.told = nn.Linear(1, 1), []

    def bring(self, part: str) -> None:
        """Nothing to move."""

    # Not asked here.
    host_rescales = lost = check = prepared = settle = lambda self, **_: pytest.fail("not asked here")

    def run_unet(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None) -> Tensor:
        self.told.append(y)
        return x


def test_sdxl_is_told_each_pictures_sizes_and_a_generations_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_lora.host.webui.model.live_model.unet_layers", lambda unet, family: {})
    parts = Recorder()
    model = WebuiModel(parts)
    latents, steps, pooled = torch.zeros(2, 4, 8, 12), torch.tensor([1, 2]), torch.rand(2, 5)
    sizes = torch.tensor([[900, 600, 3, 5, 64, 96], [64, 96, 0, 0, 64, 96]])
    for given, told in ((sizes, sizes), (None, torch.tensor([[64, 96, 0, 0, 64, 96]] * 2))):
        model.predict(latents, steps, Conditioning(torch.rand(2, 77, 3), pooled, given))
        assert torch.equal(parts.told[-1], torch.cat([pooled, size_embedding(told)], dim=1))

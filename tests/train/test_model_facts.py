"""What a run takes from the model that is loaded: its noise schedule, the sizes of its layers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lib_lora.errors import InputError
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.lora import read_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.noise_schedule import Schedule, zero_terminal_snr
from lib_lora.host.studio import POCKET, StudioHost
from lib_lora.progress import Progress
from lib_lora.train import network
from lib_lora.train.estimate import plan_run
from lib_lora.train.loop import run
from lib_lora.train.remarks import remarks_on
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start


@pytest.fixture(scope="module")
def marked_pocket(tmp_path_factory):
    """The pocket model as one that was made with zero terminal SNR."""
    folder = tmp_path_factory.mktemp("marked")
    tensors, metadata = read_tensors(POCKET)
    write_tensors(folder / "marked.safetensors", {**tensors, "ztsnr": torch.zeros(0)}, metadata)
    yaml = (
        POCKET.with_suffix(".yaml")
        .read_text(encoding="utf-8")
        .replace("extensions/lora-atelier/lib_lora/host/pocket/text", "text")
    )
    (folder / "marked.yaml").write_text(yaml, encoding="utf-8")
    return StudioHost.open(folder / "marked.safetensors", device="cpu", tokenizer=POCKET.parent / "text")


def test_a_run_says_what_it_trains_on(marked_pocket, options_for, tmp_path):
    model = marked_pocket.model
    options = options_for(steps=1)
    folder = RunFolder.create(tmp_path / "run", options)
    training = start(model, options, folder, Progress())
    result = run(training, Progress())
    assert any("zero terminal SNR" in line for line in training.data.problems)
    assert torch.equal(training.alphas_cumprod, zero_terminal_snr(model.schedule.plain))
    metadata = read_lora(result.lora).metadata
    said = [metadata[name] for name in ("ss_zero_terminal_snr", "ss_v_parameterization", "modelspec.prediction_type")]
    assert said == ["True", "True", "v"]
    assert folder.read_json("data.json")["model"]["zero_terminal_snr"] is True
    model.schedule = replace(model.schedule, zero_terminal=False)
    try:
        with pytest.raises(InputError, match="another way"):
            start(model, options, folder, Progress())
    finally:
        model.schedule = replace(model.schedule, zero_terminal=True)


def test_a_run_may_choose(marked_pocket, options_for, tmp_path, model):
    off = options_for(steps=1, zero_terminal_snr="off")
    training = start(marked_pocket.model, off, RunFolder.create(tmp_path / "off", off), Progress())
    assert torch.equal(training.alphas_cumprod, marked_pocket.model.schedule.plain)
    assert any("differs" in line for line in remarks_on(marked_pocket.model, off))
    on = options_for(steps=1, zero_terminal_snr="on")
    training = start(model, on, RunFolder.create(tmp_path / "on", on), Progress())
    assert training.alphas_cumprod[-1] == 0


def test_the_studio_draws_with_it(marked_pocket):
    request = GenerateRequest("a red apple", steps=4, sampler="ddim", width=64, height=64)
    (image,) = marked_pocket.generate(request).images
    assert len(set(image.getdata())) > 1


def test_the_plan_refuses_it_for_a_model_that_predicts_noise(options_for):
    model = SimpleNamespace(prediction_type="epsilon", schedule=Schedule(torch.ones(3)))
    with pytest.raises(InputError, match="predicts noise"):
        plan_run(model, options_for(zero_terminal_snr="on"), None)


def test_a_rank_above_a_layers_side_keeps_its_strength_and_is_said(model, options_for):
    options = options_for(network="locon", dim=1000, alpha=500.0, conv_dim=1000, conv_alpha=250.0)
    lora = network.new_lora(model, options)
    for key, adapter in lora.adapters.items():
        rows, columns = model.layers[key].weight.flatten(1).shape
        assert adapter.rank == min(1000, rows, columns), key
        large = model.layers[key].weight.dim() == 4 and model.layers[key].weight.shape[-1] > 1
        assert adapter.alpha / adapter.rank == pytest.approx(0.25 if large else 0.5, rel=1e-6), key
        assert adapter.tensors()["alpha"].item() == pytest.approx(adapter.alpha)
    cut = [adapter for adapter in lora.adapters.values() if adapter.rank < 1000]
    assert any(said.startswith(f"{len(cut)} layers are smaller") for said in remarks_on(model, options))
    assert not any("layers are smaller" in said for said in remarks_on(model, options_for()))


def test_an_alpha_of_zero_is_the_rank_that_was_asked_for(model, options_for):
    lora = network.new_lora(model, options_for(dim=1000, alpha=0))
    assert all(adapter.alpha == adapter.rank for adapter in lora.adapters.values())

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lib_lora.errors import InputError
from lib_lora.formats.lora import read_lora
from lib_lora.live.attach import attach
from lib_lora.process import same_bits
from lib_lora.progress import Progress, Stoppable
from lib_lora.train import network, resume
from lib_lora.train.loop import run
from lib_lora.train.loss import gamma_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import read_state, states_of
from lib_lora.train.step import one_step
from lib_lora.train.training import start
from tests.conftest import same

ROOT = Path(__file__).resolve().parents[2]


class StopAfter(Stoppable):
    """Asks to stop once a number of steps is done."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def update(self, done: int, total: int, text: str = "") -> None:
        if text.startswith("loss") and done >= self._steps:
            self.stop()


TRIED = ("AdamW", "Lion", "DAdaptAdanIP", "DAdaptAdam", "Prodigy", "AdaFactor")
"""Optimizers that a whole run is tried with; test_optimizers.py tries all of them on a few numbers."""


def trained(model, options, path, progress=None):
    folder = RunFolder.open(path) if (path / "options.json").exists() else RunFolder.create(path, options)
    training = start(model, options, folder, progress or Progress())
    return training, run(training, progress or Progress())


@pytest.mark.parametrize("optimizer", TRIED)
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(model, options_for, tmp_path, optimizer):
    steps = 16 if optimizer == "DAdaptAdanIP" else 6  # the recipes' own adapts its rate after some steps
    rate = {"AdamW": 1e-3, "Lion": 1e-4, "AdaFactor": 0.0}.get(optimizer, 1.0)
    options = options_for(
        steps=steps,
        batch_size=1,
        optimizer=optimizer,
        learning_rate=rate,
        shuffle_caption=True,
        flip=True,
        noise_offset=0.05,
    )
    whole, _ = trained(model, options, tmp_path / "whole")
    first, result = trained(model, options, tmp_path / "parts", StopAfter(steps // 2))
    assert (result.finished, first.step) == (False, steps // 2)
    second, result = trained(model, options, tmp_path / "parts")
    assert result.finished
    for (name, one), two in zip(
        network.parameters_of(whole.lora).items(), network.parameters_of(second.lora).values(), strict=True
    ):
        assert same(one, two), name
    logs = [RunFolder.open(tmp_path / name).read_log() for name in ("whole", "parts")]
    assert logs[0] == (logs[1] if same_bits() else [pytest.approx(row, rel=1e-3) for row in logs[1]])
    assert [row["step"] for row in logs[0]] == list(range(1, steps + 1))


def test_as_sd_scripts_a_run_with_a_rate_for_each_part_is_resumed_too(model, options_for, tmp_path):
    options = options_for(
        steps=4, batch_size=1, optimizer="AdamW", learning_rate=1e-3, as_sd_scripts=True, warmup=2, scheduler="wsd"
    )
    whole, _ = trained(model, options, tmp_path / "whole")
    trained(model, options, tmp_path / "parts", StopAfter(2))
    parts, result = trained(model, options, tmp_path / "parts")
    assert result.finished
    assert [row["rate"] for row in whole.folder.read_log()][:3] == [0, 5e-4, 1e-3]
    for one, two in zip(
        network.parameters_of(whole.lora).values(), network.parameters_of(parts.lora).values(), strict=True
    ):
        assert same(one, two)


@pytest.mark.parametrize("optimizer", TRIED)
def test_the_ratio_of_a_group_really_acts(model, options_for, tmp_path, optimizer):
    rate = {"AdamW": 1e-3, "Lion": 1e-4, "AdaFactor": 0.0}.get(optimizer, 1.0)
    common = {"steps": 3, "optimizer": optimizer, "learning_rate": rate, "scheduler": "constant"}
    moved = {}
    for ratio in (1.0, 0.5):
        options = options_for(text_encoder_ratio=ratio, **common)
        folder = RunFolder.create(tmp_path / f"{optimizer}-{ratio}", options)
        training = start(model, options, folder, Progress())
        with attach(model, training.lora, strategy="factors"):
            ups = {k: a.up.detach().clone() for k, a in training.lora.adapters.items()}
            one_step(training)
        moved[ratio] = {k: a.up.detach() - ups[k] for k, a in training.lora.adapters.items()}
    for key, change in moved[1.0].items():
        expected = change * 0.5 if key.startswith("lora_te") else change
        torch.testing.assert_close(moved[0.5][key], expected, rtol=1e-5, atol=1e-12)
    if optimizer != "Prodigy":  # its first step is tiny by design but never zero
        assert any(change.abs().sum() > 0 for key, change in moved[1.0].items() if key.startswith("lora_te"))


def test_what_is_trained_is_what_is_saved(model, options_for, tmp_path):
    training, result = trained(model, options_for(optimizer="AdamW", learning_rate=1e-2, steps=4), tmp_path / "run")
    saved = read_lora(result.lora)
    assert saved.adapters.keys() == training.lora.adapters.keys()
    for key, adapter in training.lora.adapters.items():
        torch.testing.assert_close(saved.adapters[key].delta(), adapter.delta().detach(), atol=1e-4, rtol=2e-3)
    assert saved.metadata["ss_output_name"] == "test"
    assert saved.metadata["modelspec.trigger_phrase"] == "krnk"
    assert json.loads(saved.metadata["ss_tag_frequency"])["絵 pictures"]["krnk"] == 4
    assert saved.metadata["ss_steps"] == "4"


def test_training_lowers_the_loss_and_leaves_the_model_as_it_was(model, options_for, tmp_path):
    before = [p.detach().clone() for p in model.unet.parameters()]
    options = options_for(steps=30, optimizer="AdamW", learning_rate=5e-3, batch_size=4, min_snr_gamma=0)
    training, _ = trained(model, options, tmp_path / "run")
    log = [row["loss"] for row in training.folder.read_log()]
    assert sum(log[-10:]) < 0.9 * sum(log[:10])
    assert all(torch.equal(one, two) for one, two in zip(before, model.unet.parameters(), strict=True))
    assert all(p.grad is None and not p.requires_grad for p in model.unet.parameters())
    assert not any(m._forward_hooks for m in model.unet.modules())


def test_locon_trains_convolutions_too(model, options_for, tmp_path):
    training, result = trained(model, options_for(network="locon", conv_dim=2, steps=2), tmp_path / "run")
    convs = [a for a in read_lora(result.lora).adapters.values() if a.shape[2:] == (3, 3)]
    assert len(convs) == sum("conv" in key and "shortcut" not in key for key in training.lora.adapters)
    assert {a.rank for a in convs} == {2}


def test_unet_only_and_text_only(model, options_for, tmp_path):
    unet, _ = trained(model, options_for(text_encoder_ratio=0, steps=1), tmp_path / "unet")
    text, _ = trained(model, options_for(unet_ratio=0, steps=1), tmp_path / "text")
    assert all(key.startswith("lora_unet") for key in unet.lora.adapters)
    assert all(key.startswith("lora_te") for key in text.lora.adapters)
    assert len(unet.lora.adapters) == 192
    assert len(text.lora.adapters) == 18


def test_changed_pictures_are_noticed_on_resume(model, options_for, pictures, tmp_path):
    options = options_for(steps=4)
    trained(model, options, tmp_path / "run", StopAfter(2))
    (pictures / "1.txt").write_text("something else", encoding="utf-8")
    with pytest.raises(InputError, match="not those"):
        trained(model, options, tmp_path / "run")


def test_options_that_were_changed_are_said_and_refused_where_no_state_fits(model, options_for, tmp_path):
    trained(model, options_for(steps=6), tmp_path / "run", StopAfter(2))
    states = sorted(path.name for path in (tmp_path / "run" / "states").iterdir())
    for changes in ({"dim": 8}, {"optimizer": "AdamW", "learning_rate": 1e-4}, {"steps": 1}):
        with pytest.raises(InputError, match="do not fit its options") as caught:
            trained(model, options_for(**{"steps": 6, **changes}), tmp_path / "run")
        assert next(iter(changes)) in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "run" / "states").iterdir()) == states  # none is set aside
    more = options_for(steps=7, sample_every_steps=3, save_every_steps=5)
    training, result = trained(model, more, tmp_path / "run")
    assert training.step == 7
    said = [text for text in training.folder.remarks() if "goes on with them" in text]
    assert said == ["options are others than when the run was started, and it goes on with them: steps"]


def test_another_checkpoint_of_the_same_name_is_refused(model, options_for, tmp_path, monkeypatch):
    trained(model, options_for(steps=4), tmp_path / "run", StopAfter(2))
    monkeypatch.setattr(resume, "checkpoint_hashes", lambda model, progress: ("0" * 64, "00000000"))
    with pytest.raises(InputError, match="another file"):
        trained(model, options_for(steps=4), tmp_path / "run")


def test_a_run_is_never_overwritten(options_for, tmp_path):
    RunFolder.create(tmp_path / "run", options_for())
    with pytest.raises(InputError, match="already"):
        RunFolder.create(tmp_path / "run", options_for())


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.1])
def test_kill_at_any_moment_leaves_a_loadable_run(model, options_for, pictures, tmp_path, delay):
    command = [
        sys.executable,
        "-m",
        "lib_lora",
        "train",
        "--images",
        str(pictures),
        "--name",
        "test",
        "--runs",
        str(tmp_path),
    ]
    command += [
        "--dim",
        "4",
        "--steps",
        "400",
        "--epochs",
        "400",
        "--repeats",
        "1",
        "--save-every-epochs",
        "1",
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    states = tmp_path / "test" / "states"
    deadline = time.monotonic() + 240
    while not states_of(states) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    folder = RunFolder.open(tmp_path / "test")
    state = read_state(states_of(states)[0])
    assert state["step"] >= 1
    for path in folder.path.glob("*.safetensors"):
        assert read_lora(path).adapters
    training = start(model, folder.options(), folder, Progress())
    assert training.step == state["step"]
    run(training, StopAfter(training.step + 1))
    assert read_state(states_of(states)[0])["step"] == training.step > state["step"]


@pytest.mark.parametrize(("given", "acts", "written"), [("auto", 0.0, "None"), (5, 5.0, "5.0")])
def test_the_weighting_that_acted_stands_in_the_file(model, options_for, tmp_path, given, acts, written):
    assert model.prediction_type == "v_prediction"
    training, result = trained(model, options_for(steps=1, min_snr_gamma=given), tmp_path / "run")
    assert gamma_of(training.options, model.prediction_type) == acts
    assert read_lora(result.lora).metadata["ss_min_snr_gamma"] == written
    kept = training.folder.read_json("data.json")["model"]
    facts = {"native_side": 128, "prediction_type": "v_prediction", "zero_terminal_snr": False}
    assert kept == {"name": model.name, "family": model.family, **facts}


def test_automatic_weighting_of_velocity_is_bit_for_bit_no_weighting(model, options_for, tmp_path):
    losses = {}
    for gamma in ("auto", 0, 5):
        training, _ = trained(model, options_for(steps=3, min_snr_gamma=gamma), tmp_path / str(gamma))
        losses[gamma] = [row["loss"] for row in training.folder.read_log()]
    assert losses["auto"] == losses[0] != losses[5]

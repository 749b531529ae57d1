"""Gradients that are no numbers: the step is left out and said; five in a row end the run; nothing broken is saved."""

from __future__ import annotations

import math

import pytest
import torch

from lib_lora.errors import AtelierError
from lib_lora.formats.lora import read_lora
from lib_lora.progress import Progress
from lib_lora.train import gradients, network
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import read_state, states_of
from lib_lora.train.training import start


@pytest.fixture
def begun(model, options_for, tmp_path):
    def make(**changes):
        usual = {"steps": 8, "optimizer": "AdamW", "learning_rate": 1e-3, "text_encoder_ratio": 0, "dim": 1}
        options = options_for(**usual | changes)
        return start(model, options, RunFolder.create(tmp_path / "run", options), Progress())

    return make


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_one_bad_gradient_leaves_its_step_out(begun, monkeypatch, clip, bad):
    training = begun(max_grad_norm=clip)
    first = next(p for adapter in training.lora.adapters.values() for p in adapter.parameters())
    poison = first.register_hook(lambda grad: torch.full_like(grad, bad) if training.step == 3 else grad)
    assert run(training, Progress()).finished
    poison.remove()
    rows = training.folder.read_log()
    assert [row["step"] for row in rows if row.get("left_out")] == [4]
    assert "left out" in training.folder.remarks()[0]
    assert len(training.folder.remarks()) == 1
    assert all(p.isfinite().all() for p in network.parameters_of(training.lora).values())


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_five_in_a_row_end_the_run_with_a_cure(begun, monkeypatch, kind):
    training = begun()
    real = gradients.loss_of

    def poisoned(*given):
        loss = real(*given)
        if training.step < 2:
            return loss
        return loss * math.nan if kind == "loss" else loss + (loss - loss.detach()).sqrt()  # an infinite slope

    monkeypatch.setattr(gradients, "loss_of", poisoned)
    with pytest.raises(AtelierError, match="five times in a row") as caught:
        run(training, Progress(), state_seconds=0.0)
    assert "lower learning rate" in caught.value.cure
    assert "comes to the same again" in caught.value.cure
    assert "last good state is kept" in caught.value.cure
    assert [text.rpartition(": ")[2] for text in training.folder.remarks()] == ["5"]
    assert training.step == 6
    for path in states_of(training.folder.states):
        assert all(value.isfinite().all() for value in read_state(path)["parameters"].values())


def test_a_run_that_diverges_ends_in_a_sentence_and_saves_nothing_broken(begun):
    training = begun(learning_rate=0.1, max_grad_norm=0, alpha=1024, dim=1, steps=60, save_every_epochs=1)
    with pytest.raises(AtelierError):
        run(training, Progress(), state_seconds=0.0)
    for path in states_of(training.folder.states):
        read_state(path)
    for path in training.folder.path.glob("*.safetensors"):
        assert read_lora(path).adapters


def test_no_state_is_promised_where_none_was_saved(begun, monkeypatch):
    training, real = begun(optimizer_args={"weight_decay": 0.5}), gradients.loss_of
    monkeypatch.setattr(gradients, "loss_of", lambda *given: real(*given) * math.nan)
    with pytest.raises(AtelierError) as caught:
        run(training, Progress())
    assert "state" not in caught.value.cure
    assert "without optimizer_args" in caught.value.cure

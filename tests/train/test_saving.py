"""What a run saves and shows on its way, several batches a step, and the average of the LoRA."""

from __future__ import annotations

import pytest
import torch

from lib_lora.data.folder import scan
from lib_lora.errors import InputError
from lib_lora.formats.lora import read_lora
from lib_lora.progress import Progress
from lib_lora.train import network
from lib_lora.train.ema import MovingAverage
from lib_lora.train.estimate import plan_run, room_needed
from lib_lora.train.every import Every
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import read_state, states_of
from lib_lora.train.step import one_step
from lib_lora.train.training import start
from tests.conftest import same
from tests.train.test_loop import StopAfter, trained

ADAMW = {"optimizer": "AdamW", "learning_rate": 1e-3}


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (2, 0), (0, 3), (2, 3), (1, 5)])
def test_how_often_something_comes_is_how_often_it_came(epochs, steps):
    every = Every(epochs, steps)
    for total in range(1, 40):
        assert every.times(total, 5) == sum(every.comes(step, 5) for step in range(1, total))


def test_files_states_and_samples_come_as_the_plan_says(model, options_for, pictures, tmp_path):
    sampled = []
    options = options_for(
        steps=12,
        repeats=1,
        batch_size=1,
        save_every_epochs=2,
        save_every_steps=5,
        sample_every_steps=3,
        keep_files=2,
        keep_states=3,
        sample_prompts=("a",),
        **ADAMW,
    )
    plan = plan_run(model, options, scan(pictures, min_side=64))
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    asked = training.folder.lora_path_at(4)
    asked.write_bytes(b"what somebody stopped and saved")
    run(training, Progress(), lambda folder, step, progress: sampled.append(step) or ())
    assert sampled == [0, 3, 6, 9, 12]
    made = sorted(path.stem for path in (tmp_path / "run").glob("*.safetensors") if path != asked)
    assert made == ["test", "test-000002", "test-step00000010"]  # 5 was saved, too
    assert asked.exists()
    assert (plan.files, plan.samples) == (len(made), len(sampled))
    assert [path.stem for path in states_of(training.folder.states)] == [f"step-{n:08d}" for n in (12, 10, 8)]


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)]
)
def test_a_file_has_the_precision_that_was_asked_for(model, options_for, tmp_path, name, dtype):
    training, result = trained(model, options_for(steps=1, save_precision=name, **ADAMW), tmp_path / "run")
    written = read_lora(result.lora)
    for key, adapter in training.lora.adapters.items():
        assert same(written.adapters[key].down, adapter.down.detach().to(dtype))
        assert written.adapters[key].down.dtype == dtype
    half, whole = (room_needed(model, options_for(save_precision=each)) for each in ("fp16", "fp32"))
    assert half < whole


@pytest.mark.parametrize("count", [2, 3])
def test_gathered_gradients_are_the_mean_of_each(model, options_for, tmp_path, monkeypatch, count):
    from lib_lora.train import gradients

    options = options_for(batch_size=1, repeats=1, gradient_accumulation_steps=count, max_grad_norm=0, steps=9, **ADAMW)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    assert training.steps_per_epoch == 2  # of four batches: 2 + 2, or 3 + 1
    target = next(iter(training.lora.adapters.values())).up
    values = {id(batch[0]): float(n) for n, batch in enumerate(training.next_batches())}
    monkeypatch.setattr(
        gradients, "loss_of", lambda t, drawn, rows: (target * values[id(drawn.samples[0])]).sum() + 1.0
    )
    taken = []
    monkeypatch.setattr(training.optimizer, "step", lambda factor: taken.append(target.grad.clone()))
    row = one_step(training)
    assert torch.equal(taken[0], torch.full_like(target, sum(range(count)) / count))
    assert row["loss"] == pytest.approx(1.0)


def test_a_run_that_gathers_and_averages_is_resumed_to_the_bit(model, options_for, tmp_path):
    more = {"gradient_accumulation_steps": 2, "ema_decay": 0.9}
    options = options_for(steps=4, batch_size=1, shuffle_caption=True, **more, **ADAMW)
    whole, one = trained(model, options, tmp_path / "whole")
    trained(model, options, tmp_path / "parts", StopAfter(2))
    second, two = trained(model, options, tmp_path / "parts")
    pairs = zip(network.parameters_of(whole.lora).values(), network.parameters_of(second.lora).values(), strict=True)
    assert all(same(*pair) for pair in pairs)
    written = [read_lora(result.lora).adapters for result in (one, two)]
    for key, adapter in written[0].items():
        assert same(adapter.up, written[1][key].up)


def test_the_average_is_what_is_saved_and_training_goes_on_without_it(model, options_for, tmp_path):
    plain, _ = trained(model, options_for(steps=2, save_precision="fp32", **ADAMW), tmp_path / "plain")
    options = options_for(steps=2, save_precision="fp32", ema_decay=0.5, **ADAMW)
    training, result = trained(model, options, tmp_path / "average")
    for one, two in zip(
        network.parameters_of(plain.lora).values(), network.parameters_of(training.lora).values(), strict=True
    ):
        assert same(one, two)
    key, adapter = next(iter(training.lora.adapters.items()))
    states = [read_state(training.folder.states / f"step-{2:08d}.state")]
    assert states[0]["average"]["steps"] == 2
    written = read_lora(result.lora).adapters[key]
    assert not torch.equal(written.up, adapter.up)
    assert 0 < written.up.abs().max() < adapter.up.abs().max()  # it lags behind


def test_the_average_follows_its_definition():
    parameter = torch.zeros(3, requires_grad=True)
    average, expected = MovingAverage([parameter], 0.4), torch.zeros(3)
    for n in range(1, 8):
        with torch.no_grad():
            parameter.add_(n)
        average.follow()
        kept = min(0.4, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * parameter.detach()
    torch.testing.assert_close(average.values[0], expected)
    with average.in_place():
        torch.testing.assert_close(parameter.detach(), expected)
    assert parameter.detach().tolist() == [28.0] * 3


def test_an_optimizer_that_averages_by_itself_takes_no_second_average(options_for):
    from lib_lora.train.optimizers import OPTIMIZERS

    name = next(name for name, known in OPTIMIZERS.items() if known.averages)
    with pytest.raises(InputError, match="average of its own already"):
        options_for(optimizer=name, learning_rate=1.0, text_encoder_ratio=1.0, ema_decay=0.9)


def test_the_plan_counts_gathered_batches(model, options_for, pictures, tmp_path):
    options = options_for(steps=0, epochs=3, batch_size=1, repeats=1, gradient_accumulation_steps=3, **ADAMW)
    plan = plan_run(model, options, scan(pictures, min_side=64))
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    assert (plan.per_epoch, plan.steps) == (training.steps_per_epoch, training.total) == (2, 6)

from __future__ import annotations

import json

import pytest

from lib_lora.data.folder import scan
from lib_lora.errors import StoppedError
from lib_lora.progress import Progress
from lib_lora.train import gradients, network
from lib_lora.train.estimate import Paces, memory_needed, plan_run
from lib_lora.train.pace import measure_pace
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.told import Told


@pytest.mark.parametrize("changes", [{"steps": 0, "epochs": 3}, {"steps": 0, "epochs": 2, "repeats": 5}, {"steps": 7}])
def test_the_plan_is_what_the_loop_does(model, options_for, pictures, tmp_path, changes):
    options = options_for(**{"target_steps": 30, **changes})
    plan = plan_run(model, options, scan(pictures, min_side=64))
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    assert (plan.steps, plan.per_epoch) == (training.total, training.steps_per_epoch)
    assert plan.pictures == 4
    assert sum(count for _, count in plan.buckets) == 4


def test_samples_and_files_are_counted(model, options_for, pictures):
    options = options_for(steps=20, repeats=1, batch_size=1, save_every_epochs=2, sample_prompts=("a", "b"))
    plan = plan_run(model, options, scan(pictures, min_side=64))
    assert (plan.per_epoch, plan.files, plan.samples) == (4, 3, 8)  # at 8, 16 and 20; before, and at each of them


def test_the_plan_counts_the_numbers_that_the_run_trains(model, options_for, tmp_path):
    options = options_for(steps=1)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    assert sum(p.numel() for p in network.parameters_of(training.lora).values()) == network.trained_numbers(
        model, options
    )


def test_more_of_anything_needs_more_memory(model, options_for):
    least = memory_needed(model, options_for(batch_size=1, dim=4))
    assert least < memory_needed(model, options_for(batch_size=1, dim=64))
    assert least < memory_needed(model, options_for(batch_size=4, dim=4))
    assert least < memory_needed(model, options_for(batch_size=1, dim=4, resolution=256))


def test_a_measured_pace_is_remembered_and_scaled(model, options_for, tmp_path):
    paces, options = Paces(tmp_path / "paces.json"), options_for(batch_size=1)
    assert paces.get(model, options) is None
    pace = measure_pace(model, options, Progress(), steps=2)
    assert pace > 0
    paces.put(model, options, 0.5)
    assert Paces(tmp_path / "paces.json").get(model, options) == 0.5
    assert paces.get(model, options_for(batch_size=4)) == pytest.approx(2.0)
    whole = json.loads((tmp_path / "paces.json").read_text())
    (machine,) = whole
    for broken in ("broken", "[1]", *(json.dumps({machine: rows}) for rows in (1, {"x": 1}, {"x": {"seconds": "1"}}))):
        (tmp_path / "paces.json").write_text(broken)
        assert paces.get(model, options) is None
        paces.put(model, options, 0.25)
        assert paces.get(model, options) == 0.25


def test_what_is_measured_is_the_step_of_a_run(model, options_for, monkeypatch):
    """In parts where a run's are, with several batches for a step where it has them."""
    parts, of_part = [], gradients._of_part
    monkeypatch.setattr(gradients, "_of_part", lambda *given: parts.append(given[2]) or of_part(*given))
    options = options_for(batch_size=6, resolution=64, gradient_accumulation_steps=2, text_encoder_ratio=0.0)
    assert measure_pace(model, options, Progress(), steps=1) > 0
    assert len(parts) == 2 * 2 * 2  # steps, batches, parts
    with pytest.raises(StoppedError):
        measure_pace(model, options, Told(stop_at="measuring a few steps"), steps=3)

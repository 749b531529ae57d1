from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from lib_lora.errors import InputError
from lib_lora.formats.lora import read_lora
from lib_lora.services import start_check
from lib_lora.services.jobs.delivery import deliver
from lib_lora.services.jobs.run_log import RunLogs
from lib_lora.train.run_folder import RunFolder
from tests.conftest import same


def state(trainings, name="test"):
    return trainings.find(name).state


def test_a_run_goes_to_its_end_and_its_file_into_the_list(make_trainings, options_for, until, tmp_path):
    told = []
    trainings = make_trainings(on_finished=lambda folder, language: told.append((folder.path.name, language)))
    trainings.start(options_for(sample_prompts=("krnk",)), language="ja")
    until(lambda: state(trainings) == "done")
    view = trainings.find("test")
    assert view.lora == tmp_path / "loras" / "test.safetensors"
    assert read_lora(view.lora).adapters
    assert (view.step, view.total) == (4, 4)
    until(lambda: told == [("test", "ja")])
    assert sorted(path.name for path in (view.folder / "samples").iterdir()) == [
        "step-00000000-1.png",
        "step-00000004-1.png",
    ]
    assert make_trainings().find("test").lora == view.lora  # the next server knows it too


def test_taken_names_are_refused_and_nothing_changes(make_trainings, options_for, tmp_path):
    trainings = make_trainings()
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "mine.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match="LoRA of this name"):
        trainings.start(options_for("mine"))
    assert not (tmp_path / "runs" / "mine").exists()
    RunFolder.create(tmp_path / "runs" / "test", options_for())
    with pytest.raises(InputError, match="run of this name"):
        trainings.start(options_for())


def test_pause_frees_the_model_and_resume_ends_bit_for_bit(make_trainings, options_for, until, tmp_path):
    trainings = make_trainings()
    trainings.start(options_for("whole", steps=30))
    until(lambda: state(trainings, "whole") == "done")
    trainings.start(options_for("parts", steps=30))
    until(lambda: trainings.find("parts").step >= 3)
    trainings.pause("parts")
    until(lambda: state(trainings, "parts") == "paused")
    until(lambda: trainings._jobs.running is None)
    assert 3 <= trainings.find("parts").step < 30
    trainings.resume("parts")
    until(lambda: state(trainings, "parts") == "done")
    one, two = (read_lora(tmp_path / "loras" / f"{name}.safetensors") for name in ("whole", "parts"))
    assert all(same(one.adapters[key].delta(), two.adapters[key].delta()) for key in one.adapters)


def test_stop_saves_the_lora_and_can_be_resumed(make_trainings, options_for, until, tmp_path):
    trainings = make_trainings()
    trainings.start(options_for(steps=2000))
    until(lambda: trainings.find("test").step >= 2)
    trainings.stop("test")
    until(lambda: state(trainings) == "stopped")
    view = trainings.find("test")
    assert view.lora.name == f"test-step{view.step:08d}.safetensors"
    assert read_lora(view.lora).metadata["ss_steps"] == str(view.step)
    trainings.resume("test")
    until(lambda: trainings.find("test").step > view.step)
    trainings.pause("test")
    until(lambda: state(trainings) == "paused")
    trainings.stop("test")
    assert state(trainings) == "stopped"


def test_a_picture_comes_in_between(make_trainings, options_for, until):
    trainings = make_trainings()
    trainings.start(options_for(steps=2000))
    until(lambda: trainings.find("test").step >= 2)
    job = trainings._jobs.submit("generate", "a picture", lambda job: trainings.find("test").state)
    assert job.wait(30)
    assert job.result == "running"  # not over, only aside
    step = trainings.find("test").step
    assert step < 2000
    until(lambda: trainings.find("test").step > step)


def test_runs_wait_in_line_and_can_be_removed(make_trainings, options_for, until, tmp_path):
    trainings = make_trainings()
    for name in ("one", "two", "three"):
        trainings.start(options_for(name, steps=2000 if name == "one" else 3))
    assert [view.name for view in trainings.queue()] == ["one", "two", "three"]
    with pytest.raises(InputError, match="not begun"):
        trainings.pause("two")
    trainings.remove("two")
    assert not (tmp_path / "runs" / "two").exists()
    until(lambda: state(trainings, "one") == "running")
    with pytest.raises(InputError, match="Only a run that waits"):
        trainings.remove("one")
    until(lambda: trainings.find("one").step >= 1)  # stopped earlier, nothing would be left of it
    trainings.stop("one")
    until(lambda: state(trainings, "three") == "done")
    assert state(trainings, "one") == "stopped"


def test_after_a_killed_server_one_resume_goes_on_from_the_newest_state(make_trainings, options_for, until, tmp_path):
    before = make_trainings(state_seconds=0.0)
    before.start(options_for(steps=60))
    until(lambda: before.find("test").step >= 5)
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "runs" / "test", killed)  # what the disk holds at a moment is what a kill leaves
    before.stop("test")
    until(lambda: state(before) == "stopped")
    shutil.rmtree(tmp_path / "runs" / "test")
    shutil.copytree(killed, tmp_path / "runs" / "test")
    after = make_trainings()
    view = after.find("test")
    assert view.state == "interrupted"
    assert view.step >= 4
    after.resume("test")
    until(lambda: state(after) == "done")
    assert [row["step"] for row in RunFolder.open(view.folder).read_log()] == list(range(1, 61))


def test_a_failure_is_told_the_next_run_begins_and_the_name_is_free_again(make_trainings, options_for, until, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"no picture")
    trainings = make_trainings()
    trainings.start(options_for("gone", images=str(broken)))
    trainings.start(options_for("fine", steps=2))
    until(lambda: state(trainings, "fine") == "done")
    view = make_trainings().find("gone")
    assert view.state == "failed"
    assert "can be used" in view.error.what
    trainings.start(options_for("gone", steps=1))  # mended, it may be tried again
    until(lambda: state(trainings, "gone") == "done")


REFUSED = {
    "a missing folder": ({"images": "nowhere"}, "no such folder"),
    "an empty folder": ({"images": "empty"}, "No pictures were found"),
    "an empty folder for regularization": ({"reg_images": "empty"}, "No pictures were found"),
    "an unknown argument": ({"optimizer_args": {"beta_99": 1}}, "has no argument “beta_99”"),
    "an unknown LoRA in a sample": ({"sample_prompts": ["a <lora:nobody:1>"]}, "no LoRA called"),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_a_start_that_is_refused_leaves_nothing(make_trainings, options_for, tmp_path, kind):
    changes, said = REFUSED[kind]
    (tmp_path / "empty").mkdir()
    changes = {key: str(tmp_path / value) if "images" in key else value for key, value in changes.items()}
    trainings = make_trainings()
    with pytest.raises(InputError, match=said):
        trainings.start(options_for(**changes))
    assert not (tmp_path / "runs").exists()
    assert trainings.queue() == []


def test_a_disk_without_room_is_refused_before_the_start(make_trainings, options_for, tmp_path, monkeypatch):
    monkeypatch.setattr(start_check.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="the disk has 0 MB free") as caught:
        make_trainings().start(options_for())
    assert "Free some space" in caught.value.cure
    assert not (tmp_path / "runs").exists()


def test_a_stop_before_the_first_step_leaves_nothing(make_trainings, options_for, until, tmp_path, studio, monkeypatch):
    trainings, real, seen = make_trainings(), studio.generate, []

    def slow(request, progress):
        """The first sample; whoever stops while it is drawn waits for no further step of it."""
        trainings.stop("test")
        seen.append(progress.stopped)
        return real(request, progress)

    monkeypatch.setattr(studio, "generate", slow)
    trainings.start(options_for(sample_prompts=("krnk", "again")))
    until(lambda: trainings.queue() == [])
    assert seen == [True]
    assert trainings.past() == []
    assert not (tmp_path / "runs" / "test").exists()


def test_a_sample_that_fails_is_a_remark_and_the_lora_is_there_first(
    make_trainings, options_for, until, tmp_path, studio, monkeypatch
):
    there = []

    def failing(request, progress):
        there.append((tmp_path / "runs" / "test" / "test.safetensors").exists())
        raise ValueError("the sampler has no noise")

    monkeypatch.setattr(studio, "generate", failing)
    trainings = make_trainings()
    trainings.start(options_for(sample_prompts=("krnk",)))
    until(lambda: state(trainings) == "done")
    assert there == [False, True]
    for view in (trainings.find("test"), make_trainings().find("test")):
        assert "a sample could not be made: the sampler has no noise" in view.problems
        assert view.plan["pictures"] == 3


def test_closing_the_server_keeps_every_step(make_trainings, options_for, until):
    trainings = make_trainings()
    trainings.start(options_for(steps=2000))
    until(lambda: trainings.find("test").step >= 3)
    trainings.close(20)
    step = trainings.find("test").step
    view = make_trainings().find("test")
    assert (view.state, view.step) == ("paused", step)


def test_unknown_names_and_paths_find_nothing(make_trainings, options_for, tmp_path):
    trainings = make_trainings()
    RunFolder.create(tmp_path / "elsewhere", options_for())
    for name in ("none", "../elsewhere", ""):
        with pytest.raises(InputError, match="no run of this name"):
            trainings.resume(name)


def test_delivering_never_replaces(tmp_path):
    first, second, folder = tmp_path / "a.safetensors", tmp_path / "b" / "a.safetensors", tmp_path / "loras"
    second.parent.mkdir()
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    assert deliver(first, folder) == deliver(first, folder) == folder / "a.safetensors"
    assert deliver(second, folder) == folder / "a-2.safetensors"
    assert (folder / "a.safetensors").read_bytes() == b"1"


def test_logs_are_read_as_they_grow(tmp_path):
    path, logs = tmp_path / "log.jsonl", RunLogs()
    rows = [json.dumps({"step": step, "loss": 0.1, "mean": 0.2}) for step in (1, 2, 3, 4)]
    assert logs.rows(tmp_path) == []
    path.write_text("\n".join(rows[:2]) + "\n" + rows[2][:9])
    assert [step for step, *_ in logs.rows(tmp_path)] == [1, 2]
    path.write_text("\n".join(rows) + "\n")
    assert [step for step, *_ in logs.rows(tmp_path)] == [1, 2, 3, 4]
    path.write_text(rows[0] + "\n")
    assert [step for step, *_ in logs.rows(tmp_path)] == [1]

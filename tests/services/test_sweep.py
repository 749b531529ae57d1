"""A sweep: checked whole before it begins, stopped and gone on with, compared in one grid."""

from __future__ import annotations

import csv
import json
from functools import partial

import pytest
from PIL import Image

from lib_lora.errors import AtelierError, InputError
from lib_lora.host.studio import StudioHost
from lib_lora.services.given_options import run_options
from lib_lora.services.sweep import comparison as comparing
from lib_lora.services.sweep.compared import read_comparison
from lib_lora.services.sweep.lone import LoneSweep
from lib_lora.train import loop
from lib_lora.train.option_files import read_options
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.sweep_table import SweepTable
from tests.servers import running_atelier

TINY = {"dim": 2, "resolution": 64, "optimizer": "AdamW", "learning_rate": 1e-3, "text_encoder_ratio": 0}
TABLE = SweepTable.read(["dim: 1, 2", "learning_rate: 1e-3, 3e-3"])
PROMPT = "krnk --s 1 --w 64 --h 64"


@pytest.fixture
def atelier(studio, tmp_path):
    host = StudioHost(studio.model, (tmp_path / "data" / "loras",), studio.presets)
    with running_atelier(host, tmp_path / "data") as made:
        yield made


@pytest.fixture
def values(pictures):
    return {**TINY, "images": str(pictures), "trigger": "krnk", "steps": 1, "save_every_epochs": 0, "batch_size": 1}


@pytest.fixture
def start(atelier, values):
    def begin(table=TABLE, name="krnk", prompt=PROMPT, **changes):
        read = partial(run_options, atelier)
        return atelier.sweeps.start(name, table, {**values, **changes, "name": name}, read, prompt=prompt)

    return begin


def ended(atelier, name="krnk"):
    return lambda: not atelier.trainings.queue() and all(job.ended for job in atelier.queue.jobs()) and name


def test_every_combination_is_trained_and_compared(atelier, start, until):
    view = start()
    names = list(view.runs)
    assert names == [f"krnk_dim{dim}_learning_rate{rate}" for dim in (1, 2) for rate in ("0.001", "0.003")]
    until(ended(atelier))
    view = atelier.sweeps.find("krnk")
    assert (view.finished, view.active, view.unfinished) == (4, False, False)
    for name, row in view.sweep.runs.items():
        options = read_options(atelier.folders.runs / name / "options.json")
        assert (options.dim, options.learning_rate) == (row["dim"], row["learning_rate"])
    files = view.files("ja")
    assert set(files) == {"picture", "table", "numbers"}
    assert files["picture"].name == "comparison.ja.png"
    assert view.files()["picture"].name == "comparison.png"
    kept = read_comparison(view.sweep, "en")
    assert kept["prompt"] == "krnk"
    for one in kept["runs"]:
        assert (one["state"], one["steps"], one["remark"]) == ("done", 1, None)
        assert one["loss"] > 0
        assert one["bytes"] == (atelier.folders.runs / one["run"] / f"{one['run']}.safetensors").stat().st_size
        with Image.open(view.sweep.folder / one["picture"]) as picture:
            assert picture.size == (64, 64)
            assert f"<lora:{one['run']}:1>" in picture.info["parameters"]
    with Image.open(files["picture"]) as grid:
        assert grid.width > 3 * 224  # the values of dim, and before them without LoRA
        assert grid.height > 2 * 224
    base, *rows = list(csv.DictReader(files["table"].read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["run"], row["dim"]) for row in rows] == [(name, name[8]) for name in names]
    assert base["run"] == "without LoRA"
    assert "nothing to judge by" in base["best"]
    assert kept["verdict"] == base["best"]
    with Image.open(view.sweep.folder / kept["without_lora"]["picture"]) as picture:
        assert "lora:" not in picture.info["parameters"]


def test_a_second_comparison_draws_only_what_is_new(atelier, start, until, monkeypatch):
    view = start(SweepTable.read(["dim: 1, 2"]))
    until(ended(atelier))
    for step, steady in ((0, 0.5), (1, 0.25)):
        row = {"step": step, "steady": steady, "held": None, "drift": step / 50, "pictures": {}}
        RunFolder(view.sweep.place("krnk_dim1")).keep_measures(row)
    (view.sweep.folder / read_comparison(view.sweep, "en")["runs"][1]["picture"]).write_bytes(b"\x89PNG cut off")
    draw, drawn = atelier.host.__class__.generate, []

    def counted(host, order, progress):
        drawn.append(order.prompt)
        return draw(host, order, progress)

    monkeypatch.setattr(atelier.host.__class__, "generate", counted)
    job = atelier.sweeps.compare("krnk")
    assert job.wait(60)
    assert job.error is None
    assert [prompt.partition(" ")[2] for prompt in drawn] == ["<lora:krnk_dim2:1>"]  # the other is whole
    one, two = read_comparison(view.sweep, "en")["runs"]
    assert (one["before"], one["steady"], one["held"], one["drift"]) == (0.5, 0.25, None, 0.02)
    assert two["steady"] is None


@pytest.mark.parametrize(
    ("table", "changes", "said"),
    [
        (["dim: 2, 4", "block_dims: nobody"], {}, "dim 2, block_dims nobody"),
        (["network: lora, loha", "resolution: 64, 32"], {}, "network lora, resolution 32"),
        (["images: nowhere"], {}, "images nowhere"),
        (["dim: 1, 2"], {"images": "nowhere"}, "dim 1"),
        (["dim: 1, 2"], {"trigger": ""}, "no prompt"),
    ],
)
def test_one_bad_run_refuses_all_and_leaves_nothing(atelier, start, table, changes, said):
    prompt = "" if "trigger" in changes else PROMPT
    with pytest.raises(InputError, match=said):
        start(SweepTable.read(table), prompt=prompt, **changes)
    assert not list(atelier.folders.runs.iterdir())
    assert not atelier.trainings.queue()


def test_taken_names_are_refused(atelier, start, until):
    start(SweepTable.read(["dim: 1"]))
    with pytest.raises(InputError, match="There is a sweep of this name"):
        start(SweepTable.read(["dim: 2"]))
    with pytest.raises(InputError, match="a run of this name"):
        start(SweepTable.read(["dim: 1"]), name="krnk_dim1")
    until(ended(atelier))


def test_a_disk_that_refuses_one_folder_leaves_none(atelier, start, monkeypatch):
    make, made = RunFolder.make, []

    def second_fails(self, options):
        made.append(self.path)
        if len(made) == 2:
            raise AtelierError("no room")
        make(self, options)

    monkeypatch.setattr(RunFolder, "make", second_fails)
    with pytest.raises(AtelierError, match="no room"):
        start(SweepTable.read(["dim: 1, 2"]))
    assert not list(atelier.folders.runs.iterdir())
    assert not atelier.trainings.queue()


def test_a_stop_keeps_what_is_done_and_it_goes_on(atelier, start, until):
    table = SweepTable.listed([{"dim": 1}, {"dim": 2, "steps": 500}, {"dim": 3}])
    start(table)
    slow = "krnk_dim2_steps500"
    until(lambda: any(one.name == slow and one.step >= 2 for one in atelier.trainings.queue()))
    atelier.sweeps.stop("krnk")
    until(ended(atelier))
    view = atelier.sweeps.find("krnk")
    states = {name: one and one.state for name, one in view.runs.items()}
    assert states == {"krnk_dim1": "done", slow: "stopped", "krnk_dim3": None}
    assert not view.files()  # compared when all are over, or when somebody asks
    job = atelier.sweeps.compare("krnk")
    assert job.wait(60)
    kept = [(one["state"], bool(one["picture"])) for one in read_comparison(view.sweep, "en")["runs"]]
    assert kept == [("done", True), ("stopped", False), ("none", False)]

    first = (atelier.folders.runs / "krnk_dim1" / "krnk_dim1.safetensors").stat().st_mtime_ns
    step = view.runs[slow].step
    atelier.sweeps.go_on("krnk", partial(run_options, atelier))
    until(lambda: any(one.name == slow and one.step > step for one in atelier.trainings.queue()))
    atelier.trainings.stop(slow)
    until(ended(atelier))
    view = atelier.sweeps.find("krnk")
    assert view.runs["krnk_dim3"].state == "done"
    assert (atelier.folders.runs / "krnk_dim1" / "krnk_dim1.safetensors").stat().st_mtime_ns == first


def test_a_run_that_fails_is_said_and_the_others_are_compared(atelier, start, until, monkeypatch):
    step = loop.one_step

    def fails(training, *args, **more):
        if training.options.dim == 2:
            raise AtelierError("The loss is no number")
        return step(training, *args, **more)

    monkeypatch.setattr(loop, "one_step", fails)
    start(SweepTable.read(["dim: 1, 2"]))
    until(lambda: ended(atelier)() and atelier.sweeps.find("krnk").files())
    one, two = read_comparison(atelier.sweeps.find("krnk").sweep, "ja")["runs"]
    assert one["picture"]
    assert (two["state"], two["picture"]) == ("failed", None)
    assert "The loss is no number" in two["error"]


def test_a_damaged_record_hides_only_itself(atelier, start, until):
    start(SweepTable.read(["dim: 1"]))
    (atelier.folders.runs / "other").mkdir()
    (atelier.folders.runs / "other" / "sweep.json").write_text("{", encoding="utf-8")
    assert [view.sweep.name for view in atelier.sweeps.listed()] == ["krnk"]
    (said,) = atelier.sweeps.damaged()
    assert "other" in said.where
    with pytest.raises(InputError, match="cannot be read"):
        atelier.sweeps.find("other")
    with pytest.raises(InputError, match="no sweep of this name"):
        atelier.sweeps.find("nobody")
    until(ended(atelier))


def test_a_lone_sweep_goes_on_past_a_failure_and_trains_nothing_twice(studio, values, tmp_path, monkeypatch):
    step, broken, told = loop.one_step, [2], []

    def fails(training, *args, **more):
        if training.options.dim in broken:
            raise AtelierError("The loss is no number")
        return step(training, *args, **more)

    monkeypatch.setattr(loop, "one_step", fails)
    host = StudioHost(studio.model, (tmp_path / "runs",), studio.presets)
    shared = {**values, "name": "krnk"}
    made = LoneSweep.new(
        lambda: host, SweepTable.read(["dim: 1, 2"]), shared, tmp_path / "runs", prompt=PROMPT, where="test"
    )
    first = made.work(comparing.Progress(), told.append)
    assert [one.state for one in first.facts] == ["done", "failed"]
    assert any("The loss is no number" in text for text in told)
    broken.clear()
    trained = (tmp_path / "runs" / "krnk_dim1" / "log.jsonl").stat().st_mtime_ns
    second = LoneSweep.gone_on(lambda: host, tmp_path / "runs" / "krnk").work(comparing.Progress(), told.append)
    assert [one.state for one in second.facts] == ["done", "done"]
    assert (tmp_path / "runs" / "krnk_dim1" / "log.jsonl").stat().st_mtime_ns == trained
    assert len(second.pictures) == 3
    assert json.loads((tmp_path / "runs" / "krnk" / "sweep.json").read_text())["prompt"] == PROMPT

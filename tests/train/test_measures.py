"""What is measured of a run, and what is said of it."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from lib_lora.data.folder import scan
from lib_lora.formats.lora import read_lora
from lib_lora.live.attach import attach
from lib_lora.progress import Progress
from lib_lora.train import measures, network
from lib_lora.train.estimate import plan_run
from lib_lora.train.holdout import parted
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from lib_lora.train.verdict import best_row, course, stopped_teaching
from tests.conftest import same
from tests.train.test_loop import StopAfter, trained

ADAMW = {"optimizer": "AdamW", "learning_rate": 2e-3, "batch_size": 2, "repeats": 1}


def rows(steady, drift=None, held=None, pictures=None):
    """Return measurements 100 steps apart."""
    return [
        {
            "step": 100 * n,
            "steady": loss,
            "drift": drift[n] if drift else 0.01 * n,
            "held": held[n] if held else None,
            "pictures": pictures[n] if pictures else {},
        }
        for n, loss in enumerate(steady)
    ]


@pytest.mark.parametrize(
    ("measured", "step"),
    [
        (rows([0.2, 0.15, 0.101, 0.1, 0.1]), 200),  # 98 % of the fall is reached there
        (rows([0.2, 0.15, 0.104, 0.1, 0.1]), 300),
        (rows([0.2, 0.15, 0.1], held=[0.2, 0.16, 0.17]), 100),
        (rows([0.2, 0.3, 0.25]), None),
        (rows([0.2]), None),
    ],
)
def test_the_best_file_is_found_by_its_rule(measured, step):
    best = best_row(measured)
    assert (best and best["step"]) == step


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        (rows([0.2, 0.15, 0.12]), ""),
        (rows([0.2, 0.25, 0.3]), "far too high"),
        (rows([0.2, 0.12, 0.19]), "worse since step 100"),
        (rows([0.2, 0.1999, 0.1998]), "next to nothing"),
        (rows([0.2, 0.15, 0.12], held=[0.2, 0.17, 0.18]), "since step 100 it learns the pictures by heart"),
        (rows([0.2, 0.12, 0.1195, 0.119], drift=[0, 0.05, 0.09, 0.3]), "since step 100 it changes mostly"),
    ],
)
def test_why_a_run_goes_wrong_is_said(measured, why):
    said = course(measured, total=100 * (len(measured) - 1))
    assert said.startswith(f"steady loss {measured[-1]['steady']:.4f} (before the training 0.2000), drift ")
    assert why in said
    assert (": " in said) == bool(why)


def test_a_picture_that_teaches_nothing_more_is_named():
    losses = {"a": [0.2, 0.1, 0.1, 0.1], "b": [0.2, 0.18, 0.15, 0.12]}
    pictures = [{name: values[n] for name, values in losses.items()} for n in range(4)]
    measured = rows([sum(one.values()) / 2 for one in pictures], pictures=pictures)
    assert stopped_teaching(measured) == ["a"]
    assert stopped_teaching(measured[:3]) == []
    level = [pictures[-1]] * 5  # nothing falls any more: the run has learned, and no picture is to blame
    assert stopped_teaching(rows([0.11] * 5, pictures=level)) == []


def test_measuring_changes_nothing_of_a_run_and_can_be_repeated(model, options_for, tmp_path):
    common = {"steps": 4, "save_every_steps": 2, **ADAMW}
    plain, _ = trained(model, options_for(steady_loss="off", **common), tmp_path / "plain")
    options = options_for(**common)
    training, result = trained(model, options, tmp_path / "measured")
    for one, two in zip(
        network.parameters_of(plain.lora).values(), network.parameters_of(training.lora).values(), strict=True
    ):
        assert same(one, two)
    assert RunFolder(tmp_path / "plain").measures() == []
    found = training.folder.measures()
    assert [row["step"] for row in found] == [0, 2, 4]
    assert found[0]["drift"] == 0.0
    assert 0 < found[1]["drift"] < 1
    assert sorted(found[0]["pictures"]) == ["0.png", "1.png", "2.png", "3.png"]
    assert found[0]["steady"] == pytest.approx(sum(found[0]["pictures"].values()) / 4)
    said = training.folder.remarks()
    assert any(text.startswith("steady loss ") for text in said)
    with attach(model, read_lora(result.lora), 1.0, strategy="factors"):
        training.attached = None
        again = measures.Measuring(training).row(Progress())
    assert again["steady"] == pytest.approx(found[2]["steady"], rel=1e-3)  # the file is in fp16


def test_a_resumed_run_measures_what_it_would_have(model, options_for, tmp_path):
    options = options_for(steps=4, save_every_steps=2, **ADAMW)
    trained(model, options, tmp_path / "parts", StopAfter(3))
    training, _ = trained(model, options, tmp_path / "parts")
    assert [row["step"] for row in training.folder.measures()] == [0, 2, 4]
    training.folder.rewind_log(1)
    assert [row["step"] for row in training.folder.measures()] == [0]


def test_a_run_without_measures_holds_nothing_for_them(model, options_for, tmp_path):
    for changes in ({"steady_loss": "off", "save_every_steps": 1}, {"save_every_epochs": 0}):
        options = options_for(steps=2, **ADAMW | changes)
        training = start(model, options, RunFolder(tmp_path / f"{len(changes)}"), Progress())
        assert measures.measuring_of(training) is None


@pytest.fixture
def dozen(tmp_path):
    folder = tmp_path / "dozen"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (64, 64), (random.Random(number).randrange(255), 80, 20 * number)).save(
            folder / f"{number:02}.png"
        )
    return folder


def test_pictures_that_are_held_out_are_measured_and_never_trained(model, options_for, dozen, tmp_path):
    options = options_for(
        images=str(dozen), steps=2, save_every_steps=1, holdout=0.2, resolution=64, **ADAMW | {"batch_size": 5}
    )
    found = scan(dozen, min_side=64)
    kept, held = parted(options, found)
    assert (len(kept.train), len(held)) == (10, 2)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    trained_on = {item.picture.path for item in training.data.samples}
    assert trained_on == {picture.path for picture in kept.train}
    assert {item.picture.path for item in training.data.held} == {picture.path for picture in held}
    assert any(text.startswith("held out, measured and never trained: ") for text in training.data.problems)
    plan = plan_run(model, options, found)
    assert (plan.pictures, plan.per_epoch) == (10, training.steps_per_epoch)
    run(training, Progress())
    found = training.folder.measures()
    assert all(row["held"] > 0 for row in found)
    assert not {path.name for path in (picture.path for picture in held)} & set(found[0]["pictures"])


def test_of_few_pictures_none_is_held_out(model, options_for, pictures, tmp_path):
    training = start(model, options_for(holdout=0.2), RunFolder(tmp_path / "run"), Progress())
    assert training.data.held == ()
    assert any("fewer than 10" in text for text in training.data.problems)


def test_a_stop_is_heard_while_measuring(model, options_for, tmp_path):
    training = start(model, options_for(steps=2, save_every_steps=1), RunFolder(tmp_path / "run"), Progress())
    stop = StopAfter(0)
    stop.stop()
    assert measures.Measuring(training).row(stop) is None


def test_a_measurement_that_fails_is_a_remark_and_the_run_goes_on(model, options_for, tmp_path, monkeypatch):
    def no_room(*_):
        raise RuntimeError("no room for it")

    monkeypatch.setattr(measures.Measuring, "_errors", no_room)
    training, result = trained(model, options_for(steps=2, save_every_steps=1, **ADAMW), tmp_path / "run")
    assert result.finished
    assert any("measurement could not be made: no room for it" in text for text in training.folder.remarks())
    assert not training.folder.measures()


def test_the_best_file_outlives_the_newest(model, options_for, tmp_path, monkeypatch):
    options = options_for(steps=5, save_every_steps=1, keep_files=1, **ADAMW)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    values = dict(zip(range(6), (0.2, 0.1, 0.15, 0.16, 0.17, 0.18), strict=True))

    def row(self, progress):
        step = self._training.step
        return {"step": step, "steady": values[step], "held": None, "drift": 0.0, "pictures": {}}

    monkeypatch.setattr(measures.Measuring, "row", row)
    run(training, Progress())
    made = sorted(path.stem for path in training.folder.path.glob("*.safetensors"))
    assert made == ["test", "test-step00000001", "test-step00000004"]
    assert any("best file so far: test-step00000001.safetensors" in text for text in training.folder.remarks())

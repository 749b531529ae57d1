"""Regularization pictures that the model draws: as `generate` does, once, into a folder that every run shares."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lib_lora.errors import InputError, StoppedError
from lib_lora.host.base import GenerateRequest
from lib_lora.host.in_groups import Wish
from lib_lora.host.infotext import read_infotext, read_settings
from lib_lora.progress import QUIET
from lib_lora.services import start_check
from lib_lora.services.lone_run import LoneRun
from lib_lora.services.regularization import about_drawing, draw_missing
from lib_lora.services.speed import Speed
from lib_lora.train import regularization
from lib_lora.train.regularization import ClassPictures
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.told import Told

REQUEST = GenerateRequest("red apple", seed=5, steps=2, cfg_scale=3.0, width=64, height=64)
DRAWN = {"reg_count": 3, "reg_prompts": ("red apple", "cat face, white background"), "reg_steps": 1}


def wishes(*prompts):
    return [Wish(prompt, 7 + number) for number, prompt in enumerate(prompts)]


@pytest.mark.parametrize(
    "prompts",
    [
        ("red apple, blue background", "cat face, white background", "(red:1.3) apple"),
        ("red apple", "red apple", "a [red:blue:0.5] apple", "red AND blue"),  # these cannot share a pass
        ("red apple", "apple, " * 60),
    ],
)
def test_a_group_of_prompts_draws_what_generate_draws(studio, prompts):
    wanted = wishes(*prompts)
    groups = list(studio.generate_each(REQUEST, wanted, QUIET))
    made = [row for group in groups for row in zip(group.images, group.infotexts, strict=True)]
    assert len(made) == len(wanted)
    for wish, (picture, text) in zip(wanted, made, strict=True):
        alone = studio.generate(wish.of(REQUEST))
        assert np.abs(np.asarray(picture, int) - np.asarray(alone.images[0], int)).max() <= 1
        assert text == alone.infotexts[0]


def test_drawing_ends_where_it_is_told_to(studio):
    assert list(studio.generate_each(REQUEST, wishes("red apple", "cat"), Told(stop_at=1))) == []


@pytest.fixture
def wanted(studio, options_for, tmp_path):
    return ClassPictures.of(options_for(**DRAWN), studio.model, tmp_path / "runs")


def test_its_progress_counts_pictures_and_no_steps(studio, options_for, tmp_path):
    told = Told()
    wanted = ClassPictures.of(options_for(**{**DRAWN, "reg_steps": 2}), studio.model, tmp_path / "runs")
    assert draw_missing(studio, wanted, told)
    assert told.steps[-1] == (3, 3)


def test_what_is_missing_is_drawn_and_kept(studio, wanted, tmp_path):
    told, speed = Told(), Speed(tmp_path / "speed.json")
    assert draw_missing(studio, wanted, told, speed=speed)
    names = sorted(path.name for path in wanted.folder.iterdir() if not path.name.startswith("."))
    assert names == [f"{number:05d}.{ending}" for number in range(3) for ending in ("png", "txt")]
    assert [(wanted.folder / f"{number:05d}.txt").read_text().strip() for number in range(3)] == [
        "red apple",
        "cat face, white background",
        "red apple",
    ]
    with Image.open(wanted.folder / "00002.png") as picture:
        settings = read_settings(read_infotext(picture))
        assert picture.size == (64, 64)
    assert (settings.prompt, settings.seed, settings.steps, settings.cfg_scale) == ("red apple", 2, 1, 7.0)
    assert told.steps[-1] == (3, 3)
    assert set(told.texts) == {"drawing regularization pictures"}
    assert speed.seconds(studio.model.name, wanted.request, side=128, pictures=3) > 0
    assert not wanted.missing()
    again = Told()
    assert draw_missing(studio, wanted, again)
    assert not again.steps  # nothing is drawn again


def test_a_stop_keeps_what_is_finished_and_the_rest_comes_later(studio, wanted, monkeypatch):
    monkeypatch.setattr("lib_lora.host.studio.host.AT_ONCE", 1)
    assert not draw_missing(studio, wanted, Told(stop_at=2))
    assert len(wanted.there()) == 1
    assert not draw_missing(studio, wanted, QUIET, gives_way=lambda: True)
    assert len(wanted.there()) == 2
    assert draw_missing(studio, wanted, QUIET)


def test_one_that_somebody_deleted_does_not_come_again(studio, wanted):
    draw_missing(studio, wanted, QUIET)
    before = {path.name: path.read_bytes() for path in wanted.folder.iterdir()}
    wanted.path(1).unlink()
    assert list(wanted.missing()) == [3]
    draw_missing(studio, wanted, QUIET)
    assert [path.stem for path in wanted.there()] == ["00000", "00002", "00003"]
    assert wanted.path(0).read_bytes() == before["00000.png"]


def test_the_last_one_does_not_come_again_either(studio, wanted):
    draw_missing(studio, wanted, QUIET)
    for path in (wanted.path(2), wanted.path(2).with_suffix(".txt")):
        path.unlink()
    assert list(wanted.missing()) == [3]
    (wanted.folder / ".next").unlink()  # drawn by an earlier version: a caption that is left tells it too
    wanted.path(2).with_suffix(".txt").write_text("red apple")
    assert list(wanted.missing()) == [3]


def test_a_model_used_otherwise_draws_its_own(studio, options_for, wanted, tmp_path, monkeypatch):
    def folder():
        return ClassPictures.of(options_for(**DRAWN), studio.model, tmp_path / "runs").folder

    assert folder() == wanted.folder
    facts = regularization.facts_of(studio.model)
    monkeypatch.setattr(regularization, "facts_of", lambda model: replace(facts, prediction_type="another"))
    assert folder() != wanted.folder
    other = replace(facts, zero_terminal_snr=not facts.zero_terminal_snr)
    monkeypatch.setattr(regularization, "facts_of", lambda model: other)
    assert folder() != wanted.folder


def test_a_checkpoint_of_the_same_name_and_size_draws_its_own(studio, options_for, tmp_path, monkeypatch):
    found = set()
    for when in (1e9, 2e9):
        place = tmp_path / "model.safetensors"
        place.write_bytes(b"0123")
        os.utime(place, (when, when))
        monkeypatch.setattr(studio.model, "path", place)
        found.add(ClassPictures.of(options_for(**DRAWN), studio.model, tmp_path / "runs").folder)
    assert len(found) == 2


@pytest.mark.parametrize("links", [True, False])
def test_a_run_goes_on_elsewhere_without_the_shared_pictures(studio, options_for, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    runs, values = tmp_path / "runs", options_for(**DRAWN).to_dict()
    whole = LoneRun.new(lambda: studio, values, runs, where="test", progress=QUIET).work(QUIET)
    second = {**values, "name": "moved"}
    made = LoneRun.new(lambda: studio, second, runs, where="test", progress=QUIET)
    made.work(Told(stop_at=2))
    assert 0 < made.training.step < 4
    elsewhere = tmp_path / "elsewhere" / "moved"
    elsewhere.parent.mkdir()
    shutil.move(runs / "moved", elsewhere)
    shutil.rmtree(runs / ".regularization")
    told = Told()
    gone_on = LoneRun.gone_on(lambda: studio, elsewhere, progress=told)
    assert "drawing regularization pictures" not in told.texts
    result = gone_on.work(QUIET)
    assert result.finished
    one, two = load_file(whole.lora), load_file(result.lora)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (elsewhere.parent / ".regularization").exists()


def test_a_picture_deleted_as_bad_stops_no_run_that_learned_from_it(studio, options_for, tmp_path):
    runs, values = tmp_path / "runs", options_for(**DRAWN).to_dict()
    made = LoneRun.new(lambda: studio, values, runs, where="test", progress=QUIET)
    made.work(Told(stop_at=2))
    shared = ClassPictures.of(made.training.options, studio.model, runs)
    shared.path(0).unlink()
    assert LoneRun.gone_on(lambda: studio, made.training.folder.path, progress=QUIET).work(QUIET).finished
    assert list(shared.missing()) == [3]  # another run draws another one


def test_what_is_to_be_said_of_them_is_said_with_the_run(
    studio, options_for, tmp_path, monkeypatch, make_trainings, until
):
    problem = InputError("There is no LoRA of this name", where="nobody")
    draw = studio.generate_each
    monkeypatch.setattr(
        studio,
        "generate_each",
        lambda *a: (replace(one, notes=("too long",), problems=(problem,)) for one in draw(*a)),
    )
    values = options_for(**DRAWN).to_dict()
    made = LoneRun.new(lambda: studio, values, tmp_path / "lone", where="test", progress=QUIET)
    expected = [f"of the regularization pictures: {text}" for text in ("too long", problem.sentence)]
    assert list(made.training.folder.remarks())[:2] == expected
    trainings = make_trainings()
    trainings.start(options_for(**DRAWN))
    until(lambda: trainings.find("test").state == "done")
    assert list(RunFolder(tmp_path / "runs" / "test").remarks())[:2] == expected


def test_a_run_reads_its_own_in_each_step(studio, options_for, tmp_path):
    """Those that vary are read again and again: what is deleted meanwhile must not be missing."""
    runs, values = tmp_path / "runs", options_for(**DRAWN, color_aug=True).to_dict()
    made = LoneRun.new(lambda: studio, values, runs, where="test", progress=QUIET)
    shutil.rmtree(runs / ".regularization")
    assert made.work(QUIET).finished
    assert not [row for row in made.training.folder.remarks() if "made anew" in row]
    mine = {item.picture.path.parent.parent for item in made.training.data.samples if item.picture.is_reg}
    assert mine == {runs / "test" / "regularization"}


def test_a_run_that_never_began_leaves_no_copies(studio, options_for, tmp_path):
    runs = tmp_path / "runs"
    made = LoneRun.new(lambda: studio, options_for(**DRAWN).to_dict(), runs, where="test", progress=QUIET)
    assert (made.training.folder.path / "regularization").is_dir()
    made.leave()
    assert not made.training.folder.path.exists()


def test_more_of_them_change_nothing_for_a_run_that_wanted_fewer(studio, options_for, tmp_path):
    few, many = options_for(**DRAWN), options_for("many", **{**DRAWN, "reg_count": 5})
    runs = tmp_path / "runs"
    prints = []
    for options in (few, many, few):
        pictures = ClassPictures.of(options, studio.model, runs)
        draw_missing(studio, pictures, QUIET)
        scan = start(studio.model, options, RunFolder(runs / f"run{len(prints)}"), QUIET).data
        prints.append(scan.fingerprint)
    assert prints[0] == prints[2] != prints[1]
    assert len(list((runs / ".regularization").iterdir())) == 1


@pytest.mark.parametrize(
    "changes",
    [{"reg_prompts": ("cat",)}, {"reg_negative": "blue"}, {"reg_steps": 2}, {"reg_cfg": 3.0}, {"reg_seed": 1}]
    + [{"resolution": 128}, {"clip_skip": 2}],
)
def test_other_settings_have_a_folder_of_their_own(studio, options_for, wanted, changes, tmp_path):
    other = ClassPictures.of(options_for(**{**DRAWN, **changes}), studio.model, tmp_path / "runs")
    assert other.folder != wanted.folder
    assert other.folder.parent == wanted.folder.parent


def test_pictures_of_a_person_count_and_stay_as_they_are(studio, options_for, pictures, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    assert ClassPictures.of(options_for(**DRAWN, reg_images=str(own)), studio.model, tmp_path).count == 3
    (pictures / "0.png").rename(own / "0.png")
    options = options_for(**DRAWN, reg_images=str(own))
    wanted = ClassPictures.of(options, studio.model, tmp_path / "runs")
    assert wanted.count == 2
    with pytest.raises(InputError, match="2 regularization pictures are missing"):
        start(studio.model, options, RunFolder(tmp_path / "runs" / "x"), QUIET)
    draw_missing(studio, wanted, QUIET)
    made = start(studio.model, options, RunFolder(tmp_path / "runs" / "x"), QUIET)
    reg = [item for item in made.data.samples if item.picture.is_reg]
    mine = tmp_path / "runs" / "x" / "regularization" / wanted.folder.name
    assert [item.picture.path.parent for item in reg] == [own, mine]  # two training pictures, so two of three
    assert [path.name for path in own.iterdir()] == ["0.png"]
    assert reg[1].caption == "red apple"
    assert any("drew 2 of the regularization pictures" in text for text in made.data.problems)
    assert ClassPictures.of(replace(options, reg_count=1), studio.model, tmp_path) is None


def test_a_lone_run_draws_says_so_and_draws_none_again(studio, options_for, tmp_path):
    runs, values = tmp_path / "runs", options_for(**DRAWN).to_dict()
    said, told = [], Told()
    made = LoneRun.new(lambda: studio, values, runs, where="test", progress=told, tell=said.append)
    assert "3 regularization pictures are drawn first" in said[0]
    assert "drawing regularization pictures" in told.texts
    result = made.work(QUIET)
    assert result.finished
    told = Told()
    LoneRun.gone_on(lambda: studio, made.training.folder.path, progress=told)
    assert "drawing regularization pictures" not in told.texts
    LoneRun.new(lambda: studio, {**values, "name": "next"}, runs, where="test", progress=told, tell=said.append)
    assert "are there" in said[1]
    assert "drawing regularization pictures" not in told.texts


def test_a_stop_before_the_run_leaves_no_run(studio, options_for, tmp_path, monkeypatch):
    monkeypatch.setattr("lib_lora.host.studio.host.AT_ONCE", 1)
    runs, values = tmp_path / "runs", options_for(**DRAWN).to_dict()
    with pytest.raises(StoppedError):
        LoneRun.new(lambda: studio, values, runs, where="test", progress=Told("drawing regularization pictures"))
    assert [path.name for path in runs.iterdir()] == [".regularization"]


def test_a_server_draws_them_shows_it_and_lets_others_in_between(
    studio, make_trainings, options_for, until, monkeypatch
):
    monkeypatch.setattr("lib_lora.host.studio.host.AT_ONCE", 1)
    trainings = make_trainings()
    view = trainings.start(options_for(**{**DRAWN, "reg_count": 40, "reg_steps": 4}))
    assert "40 regularization pictures are drawn first" in view.problems[0]
    until(lambda: trainings.find("test").doing == "draw" and trainings.find("test").part[0] > 1)
    job = trainings._jobs.submit("generate", "a picture", lambda job: trainings.find("test"))
    assert job.wait(60)
    assert (job.result.state, job.result.step, job.result.total) == ("running", 0, 0)  # aside, not over
    wanted = ClassPictures.of(options_for(**{**DRAWN, "reg_count": 40, "reg_steps": 4}), studio.model, trainings._runs)
    assert 0 < len(wanted.there()) < 40
    trainings.pause("test")
    until(lambda: trainings.find("test").state == "paused")
    there = len(wanted.there())
    assert 0 < there < 40
    for number in wanted.missing():  # the rest would only take time
        wanted.path(number).write_bytes(wanted.there()[0].read_bytes())
    trainings.resume("test")
    until(lambda: trainings.find("test").state == "done")
    assert any("drew 40 of" in text for text in trainings.find("test").problems)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"reg_prompts": (), "class_word": ""}, "Nothing says what"),
        ({"reg_prompts": ("a <lora:x:1>",)}, "network tag"),
        ({"reg_prompts": ("one\ntwo",)}, "one line"),
        ({"images": "", "dataset_config": "x.toml"}, "dataset file says which"),
        ({"reg_count": -1}, "out of range"),
        ({"reg_images": "nowhere"}, "no such folder"),
    ],
)
def test_what_cannot_be_is_refused_early(studio, options_for, tmp_path, changes, what):
    with pytest.raises(InputError, match=what):
        start_check.check_start(studio, options_for(**{**DRAWN, **changes}), tmp_path)


def test_the_class_word_says_what_is_drawn(studio, options_for, tmp_path):
    options = options_for(reg_count=2, class_word="girl")
    assert ClassPictures.of(options, studio.model, tmp_path).prompts == ("girl",)
    assert about_drawing(studio, options_for(class_word="girl"), tmp_path, Speed(tmp_path / "s.json")) == ()
    known = Speed(tmp_path / "speed.json")
    known.record(studio.model.name, REQUEST, side=128, pictures=1, seconds=60)
    (said,) = about_drawing(studio, options, tmp_path, known)
    assert "about 20 min" in said  # ten times the steps, twice


def test_a_room_that_is_too_small_for_them_is_said(studio, options_for, tmp_path, monkeypatch):
    monkeypatch.setattr(start_check.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 20 * 2**20}))
    start_check.check_start(studio, options_for(**DRAWN), tmp_path)
    with pytest.raises(InputError, match="the disk has"):
        start_check.check_start(studio, options_for(**{**DRAWN, "reg_count": 10_000}), tmp_path)

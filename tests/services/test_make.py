"""An order for a finished LoRA: every step, in a server's queues and on the terminal, stopped and gone on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from lib_lora.errors import InputError, StoppedError
from lib_lora.formats.cover import read_cover
from lib_lora.formats.header import read_header
from lib_lora.formats.lora import read_lora
from lib_lora.formats.metadata import describe
from lib_lora.host.studio import StudioHost
from lib_lora.i18n.words import Words
from lib_lora.progress import QUIET
from lib_lora.services.make import plan, steps, weights
from lib_lora.services.make.lone import LoneMake
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.make.pictures import gather
from lib_lora.services.make.record import PICTURES, PLAN, STEPS, TRAIN, WEIGHTS, new_make, read_make
from lib_lora.services.make.report import report_of
from lib_lora.services.make.shrink import first_good
from lib_lora.services.make.work import Work
from lib_lora.ui.train.make import MakePiece
from tests.servers import running_atelier
from tests.short_make import shorten

PATIENCE = 900.0
"""Seconds: a machine that does much else beside takes long for all steps."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Nine pictures of which two are alike; one has a caption, two are named by the rule."""
    folder = tmp_path / "絵"
    folder.mkdir()
    for number, name in enumerate(("f00", "b02", *"cdefgh", "h2")):
        picture = Image.new("RGB", (64, 64), "white")
        turn = min(number, 7)
        ImageDraw.Draw(picture).ellipse((4 + 5 * turn, 8, 30 + 4 * turn, 30 + 4 * turn), fill=(30 * turn, 90, 200))
        picture.save(folder / f"{name}.png")
    (folder / "c.txt").write_text("blue circle", encoding="utf-8")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take as little of everything as shows that it is done."""
    shorten(monkeypatch.setattr)


@pytest.fixture
def atelier(studio, tmp_path: Path):
    host = StudioHost(studio.model, (tmp_path / "data" / "loras",), studio.presets)
    with running_atelier(host, tmp_path / "data") as made:
        yield made


@pytest.fixture
def lone(studio, tmp_path: Path, pictures: Path):
    loras = tmp_path / "loras"
    loras.mkdir()
    host = StudioHost(studio.model, (loras,), studio.presets)

    def make(**more) -> LoneMake:
        order = new_make(MakeOptions(str(pictures), "krnk", **more), tmp_path / "runs")
        return LoneMake.of(order, host, loras)

    return make


@pytest.mark.usefixtures("quick")
def test_pictures_and_a_word_become_a_finished_measured_lora(atelier, pictures, until) -> None:
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    makes = atelier.makes
    makes.start(MakeOptions(str(pictures), "krnk", steps=4))
    until(lambda: not makes.find("krnk").active and not makes._going, PATIENCE)
    view = makes.find("krnk")
    assert view.error is None, str(view.error)
    assert (view.done, list(view.make.results)) == (True, list(STEPS))
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before
    numbers = view.make.results["proof"]["numbers"]
    assert numbers["held"] is True
    assert numbers["ours"]["bytes"] < numbers["usual"]["bytes"]
    assert 0 < numbers["ours"]["drift"] < 1
    file = atelier.host.find_lora("krnk")
    said = read_header(file).metadata
    assert describe(said).fields["trigger_words"] == "krnk"
    assert read_cover(said) is not None
    assert str(pictures) not in json.dumps(dict(said), ensure_ascii=False)
    assert read_lora(file).adapters
    for language in ("en", "ja"):
        page = report_of(replace(view.make, language=language))
        assert "krnk" in page.title
        assert len(page.sections) >= 7
    piece = MakePiece(atelier)
    assert "report/krnk/ja" in piece.html(Words("ja"))
    assert all(word in piece.html(Words("en")) for word in ("make-use krnk", "proof/1-ours.png", "usual recipe"))
    assert piece.tag_of("krnk") == "krnk, <lora:krnk:1>"
    with pytest.raises(InputError, match="finished"):
        makes.go_on("krnk")
    with pytest.raises(InputError, match="already"):
        makes.start(MakeOptions(str(pictures), "krnk"))


@pytest.mark.usefixtures("quick")
def test_the_plan_may_be_looked_at_and_changed_before_it_goes_on(atelier, pictures, until) -> None:
    makes = atelier.makes
    makes.start(MakeOptions(str(pictures), "krnk", compare=False), until_plan=True)
    until(lambda: makes.find("krnk").planned)
    assert makes.find("krnk").make.results[PLAN]["steps"] > 100
    assert "make-go krnk" in MakePiece(atelier).html(Words("en"))
    makes.go_on("krnk", steps=3)
    until(lambda: TRAIN in makes.find("krnk").make.results)
    made = makes.find("krnk").make
    assert (made.results[PLAN]["steps"], made.results[TRAIN]["step"]) == (3, 3)
    with pytest.raises(InputError, match="its plan stands"):
        made.changed(steps=9)
    makes.stop("krnk")
    until(lambda: not makes.find("krnk").active)


@pytest.mark.usefixtures("quick")
def test_what_is_done_stays_done_after_a_stop_at_any_step(lone, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    broken = {WEIGHTS, "shrink", "proof", "label"}

    def once(step: str, act):
        def work(work: Work, progress):
            called.append(step)
            if step in broken:
                broken.discard(step)
                raise StoppedError
            return act(work, progress)

        return work

    monkeypatch.setattr(steps, "ACTS", {step: once(step, act) for step, act in steps.ACTS.items()})
    made = lone(steps=3, compare=False)
    for _ in range(4):
        with pytest.raises(StoppedError):
            made.go(QUIET, lambda text: None)
        made = LoneMake(Work(read_make(made.work.make.folder), made.work.host, made.work.loras))
    done = made.go(QUIET, lambda text: None)
    assert not done.next_step
    again = [step for step in dict.fromkeys(called) if called.count(step) > 1]
    assert again == [WEIGHTS, "shrink", "proof", "label"]


@pytest.mark.usefixtures("quick")
def test_a_stop_in_the_queue_leaves_what_is_done_and_it_goes_on(atelier, pictures, until) -> None:
    makes = atelier.makes
    makes.start(MakeOptions(str(pictures), "krnk", steps=5000, compare=False))
    until(lambda: (run := makes.find("krnk").run) is not None and run.step > 1)
    makes.stop("krnk")
    until(lambda: not makes.find("krnk").active)
    view = makes.find("krnk")
    assert (view.make.next_step, view.done) == (TRAIN, False)
    makes.go_on("krnk")
    until(lambda: (run := makes.find("krnk").run) is not None and run.step > view.run.step)
    makes.stop("krnk")
    until(lambda: not makes.find("krnk").active)


@pytest.mark.usefixtures("quick")
def test_where_nothing_was_learned_weights_stay_and_the_report_says_it(lone, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*given, **more):
        raise InputError("The LoRA has not learned this subject", where="pictures")

    monkeypatch.setattr(weights, "fit_weights", nothing)
    made = lone(steps=2, compare=False).go(QUIET, lambda text: None)
    assert set(made.results[WEIGHTS]["weights"].values()) == {1.0}
    assert "has not learned" in made.notes(WEIGHTS)[0]
    assert not made.next_step


def test_of_pictures_that_look_alike_none_is_held_out_and_captions_are_made(lone) -> None:
    work = lone().work
    result = gather(work, QUIET)
    assert len(result["held"]) == 1
    assert not {"h.png", "h2.png"} & set(result["held"])
    assert result["captions"] == {"there": 1, "tagger": 0, "names": 2, "bare": 6}
    texts = {path.stem: path.read_text(encoding="utf-8").strip() for path in work.make.folder.rglob("*.txt")}
    assert texts["c"] == "blue circle"
    assert texts["f00"].startswith("krnk, ")
    assert texts["g"] == "krnk"


def test_too_few_pictures_are_all_trained_and_it_is_said(lone, pictures) -> None:
    for name in ("c", "d"):
        (pictures / f"{name}.png").unlink()
    work = lone().work
    result = gather(work, QUIET)
    assert (result["held"], result["trained"]) == ([], 7)
    assert any("flatter" in note for note in result["notes"])


@pytest.mark.usefixtures("quick")
def test_minutes_shorten_the_training_and_it_is_said(lone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = plan.probed
    monkeypatch.setattr(plan, "probed", lambda *given, **more: replace(asked(*given, **more), seconds=0.5))
    found = lone(budget=1.0).go(QUIET, lambda text: None, until=TRAIN)
    assert found.results[PLAN]["steps"] == int(60 * plan.WITHOUT_PAUSE / 0.5 / 2)
    assert any("fits in 1 minutes" in note for note in found.notes(PLAN))


@pytest.mark.parametrize("bound", range(6))
def test_the_smallest_good_one_is_found_by_halving(bound: int) -> None:
    asked: list[int] = []

    def good(value: int) -> bool:
        asked.append(value)
        return value >= bound

    assert first_good(range(5), good) == (bound if bound < 5 else None)
    assert len(asked) <= 3


def test_a_damaged_record_is_said_and_the_others_are_listed(atelier, pictures) -> None:
    runs = atelier.folders.runs
    new_make(MakeOptions(str(pictures), "good"), runs).save()
    (runs / "bad").mkdir()
    (runs / "bad" / "make.json").write_text("{", encoding="utf-8")
    assert [view.make.name for view in atelier.makes.listed()] == ["good"]
    assert "cannot be read" in str(atelier.makes.damaged()[0])
    with pytest.raises(InputError, match="cannot be read"):
        atelier.makes.find("bad")
    with pytest.raises(InputError, match="No LoRA of this name"):
        atelier.makes.find("../runs/good")


def test_a_record_comes_back_as_it_was(lone) -> None:
    made = lone(class_word="1girl").work.make.with_result(PICTURES, {"held": ["a.png"], "notes": ["x"]}, 1.26)
    assert read_make(made.folder) == made
    assert made.notes(PICTURES) == ["x"]
    assert made.next_step == PLAN


@pytest.mark.parametrize("trigger", ["", "  "])
def test_no_trigger_word_is_refused(trigger: str) -> None:
    with pytest.raises(InputError, match="no trigger word"):
        MakeOptions("pictures", trigger)

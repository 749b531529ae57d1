from __future__ import annotations

import os

import pytest
from PIL import Image

from lib_lora.data.buckets import plan_bucket
from lib_lora.data.caption_files import captions_of
from lib_lora.data.edit_captions import CaptionHistory, plan_each, plan_rule_changes, tag_counts
from lib_lora.data.images import load_picture
from lib_lora.data.preview import FRAME, crop_preview
from lib_lora.data.tag_lines import with_tag, with_tag_replaced, without_tag
from lib_lora.errors import FileError, InputError
from tests.cases import case


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "絵"
    place.mkdir()
    for name, text in (("f00", "smile, red"), ("f01", "red"), ("b14", None)):
        Image.new("RGB", (64, 64)).save(place / f"{name}.png")
        if text is not None:
            (place / f"{name}.txt").write_text(text, encoding="utf-8")
    return place


def pictures(folder):
    return sorted(folder.glob("*.png"))


def plan_changes(pictures, change, problems=None):
    return plan_each(dict.fromkeys(pictures, change), problems)


def texts(folder):
    return {path.stem: text for path, text in captions_of(pictures(folder)).items()}


def test_tags_are_counted_once_a_caption():
    assert tag_counts(["a, b, a", "a", ""]) == [("a", 2), ("b", 1)]


def test_tags_come_go_and_change():
    assert with_tag("a, b", "c") == "a, b, c"
    assert with_tag("a, b", "c", first=True) == "c, a, b"
    assert with_tag("a ,b", "b") == "a ,b"
    assert without_tag("a, b, a", "a") == "b"
    assert with_tag_replaced("a, b", "a", "b") == "b"
    assert with_tag_replaced("b", "a", "c") == "b"


def test_every_change_can_be_undone_in_turn(folder, tmp_path):
    history, before = CaptionHistory(tmp_path / "undo", folder), texts(folder)
    assert history.apply(plan_changes(pictures(folder), lambda text: with_tag(text, "new"))) == 3
    assert texts(folder)["b14"] == "new"
    assert history.apply(plan_changes(pictures(folder), lambda text: without_tag(text, "red"))) == 2
    assert CaptionHistory(tmp_path / "undo", folder).depth == 2  # after a restart too
    assert history.undo() == (2, [])
    assert history.undo() == (3, [])
    assert texts(folder) == before
    assert not (folder / "b14.txt").exists()
    with pytest.raises(InputError, match="nothing to undo"):
        history.undo()


def test_undo_brings_back_the_very_bytes(folder, tmp_path):
    whole = {"a": "黒髪, hat".encode("cp932"), "b": b"hat, x\r\nsecond\r\n", "c": b""}
    for name, data in whole.items():
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_bytes(data)
    history = CaptionHistory(tmp_path / "undo", folder)
    pictures = [folder / f"{name}.png" for name in whole]
    assert history.apply(plan_changes(pictures, lambda text: with_tag(text, "krnk"))) == 3
    assert history.undo() == (3, [])
    assert {name: (folder / f"{name}.txt").read_bytes() for name in whole} == whole


def test_undo_leaves_alone_what_was_changed_since(folder, tmp_path):
    history = CaptionHistory(tmp_path / "undo", folder)
    history.apply(plan_changes(pictures(folder), lambda text: with_tag(text, "new")))
    (folder / "f01.txt").write_text("by hand", encoding="utf-8")
    done, kept = history.undo()
    assert (done, [path.name for path in kept]) == (2, ["f01.txt"])
    assert texts(folder)["f01"] == "by hand"


def test_a_caption_that_cannot_be_changed_stays_and_the_others_change(folder, tmp_path):
    (folder / "f01.txt").write_bytes("黒髪, 少".encode()[:-1])  # cut inside a character: writing it would lose bytes
    (folder / "b14.txt").mkdir()
    before, problems = (folder / "f01.txt").read_bytes(), []
    changes = plan_changes(pictures(folder), lambda text: with_tag(text, "new"), problems)
    history = CaptionHistory(tmp_path / "undo", folder)
    assert history.apply(changes, problems) == 1
    assert texts(folder)["f00"] == "smile, red, new"
    assert (folder / "f01.txt").read_bytes() == before
    assert [problem.path.name for problem in problems] == ["f01.txt", "b14.txt"]
    assert all(problem.what and problem.cure for problem in problems)
    with pytest.raises(FileError):
        plan_changes(pictures(folder), lambda text: with_tag(text, "new"))


def test_a_folder_is_listed_once_for_all_its_captions(folder, monkeypatch):
    calls = []
    plain = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: calls.append(path) or plain(path))
    captions_of(sorted(folder.glob("*.png")))
    assert len([path for path in calls if str(path) == str(folder)]) <= 2  # glob's own, and one


def test_every_line_counts_its_own_tags():
    assert tag_counts(["krnk, red hair\nblue sky, krnk", "red hair，smile"]) == [
        ("red hair", 2), ("blue sky", 1), ("krnk", 1), ("smile", 1)
    ]  # fmt: skip


def test_case_of_several_lines():
    folder = case("multi-line-captions")
    (before,) = {text for text in captions_of(sorted(folder.glob("*.png"))).values() if "\n" in text}
    assert "red hair" in before.split("\n")[0]
    assert "red hair" not in without_tag(before, "red hair")
    assert "smile" in with_tag(before, "smile").split("\n")[0]
    assert not [tag for tag, _ in tag_counts([before]) if "\n" in tag]


def test_rule_writes_only_where_there_is_no_caption(folder):
    (change,) = plan_rule_changes(pictures(folder), folder, "krnk")
    assert change.path.name == "b14.txt"
    assert change.after.startswith("krnk, ")
    for path in pictures(folder):
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(InputError, match="named by the rule"):
        plan_rule_changes(pictures(folder), folder, "krnk")


def test_the_preview_shows_the_crop(tmp_path):
    path = tmp_path / "wide.png"
    Image.new("RGB", (360, 100), "white").save(path)
    plan = plan_bucket((360, 100), 128, step=32, min_side=64, max_side=256)
    shown = crop_preview(load_picture(path), plan, side=200)
    assert shown.size == (200, 56)
    assert shown.getpixel((0, 25)) < (120, 120, 120)  # cut away: dark
    assert shown.getpixel((100, 25)) == (255, 255, 255)
    assert FRAME in {shown.getpixel((x, 25)) for x in range(200)}

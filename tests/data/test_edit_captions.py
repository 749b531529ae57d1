from __future__ import annotations

import pytest
from PIL import Image

from lib_lora.data import plan_bucket
from lib_lora.data.edit_captions import (
    CaptionHistory,
    captions_of,
    plan_changes,
    plan_rule_changes,
    tag_counts,
    with_tag,
    with_tag_replaced,
    without_tag,
)
from lib_lora.data.preview import FRAME, crop_preview
from lib_lora.errors import InputError


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


def test_undo_leaves_alone_what_was_changed_since(folder, tmp_path):
    history = CaptionHistory(tmp_path / "undo", folder)
    history.apply(plan_changes(pictures(folder), lambda text: with_tag(text, "new")))
    (folder / "f01.txt").write_text("by hand", encoding="utf-8")
    done, kept = history.undo()
    assert (done, [path.name for path in kept]) == (2, ["f01.txt"])
    assert texts(folder)["f01"] == "by hand"


def test_rule_writes_only_where_there_is_no_caption(folder):
    (change,) = plan_rule_changes(folder, "krnk")
    assert change.path.name == "b14.txt"
    assert change.after.startswith("krnk, ")
    for path in pictures(folder):
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(InputError, match="named by the rule"):
        plan_rule_changes(folder, "krnk")


def test_the_preview_shows_the_crop(tmp_path):
    path = tmp_path / "wide.png"
    Image.new("RGB", (360, 100), "white").save(path)
    plan = plan_bucket((360, 100), 128, step=32, min_side=64, max_side=256)
    shown = crop_preview(path, plan, side=200)
    assert shown.size == (200, 56)
    assert shown.getpixel((0, 25)) < (120, 120, 120)  # cut away: dark
    assert shown.getpixel((100, 25)) == (255, 255, 255)
    assert FRAME in {shown.getpixel((x, 25)) for x in range(200)}

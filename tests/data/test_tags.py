from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib_lora.data.tags import TagLists, parse_folder_name, plan_captions, tags_for, write_captions
from lib_lora.errors import InputError

LISTS = TagLists(face_always=("A",), face_front=("B",), face_back=("C",), face_midriff=("D",))
BACK = ["white background", "black background", "simple background"]
STANDING = ["standing", "straight standing"]
SMILE = ["smile", "open mouth", "blush"]


def test_face_from_above_in_front_has_every_tag_in_the_order_of_the_table() -> None:
    assert tags_for("f10_x.png", "krnk", ["choker"], lists=LISTS) == [
        "krnk", "choker", *BACK, "from above", "from front", "upper body", *STANDING, "A", "B", "D",
        "looking at viewer", *SMILE,
    ]  # fmt: skip


def test_body_from_below_behind_takes_no_user_list_and_no_expression() -> None:
    assert tags_for("b24", "krnk", lists=LISTS) == [
        "krnk", *BACK, "from below", "from behind", "full body", *STANDING, "looking away",
    ]  # fmt: skip


def test_user_lists_are_empty_by_default() -> None:
    assert tags_for("f00", "k") == [
        "k", *BACK, "from horizontal", "from front", "upper body", *STANDING, "looking at viewer", *SMILE,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("angle", "view"),
    [(0, "front"), (1, "front"), (2, "side"), (3, "behind"), (4, "behind"), (5, "behind"), (6, "side"), (7, "front")],
)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_angle_and_level_has_its_view_and_exposure(angle: int, view: str, level: int) -> None:
    tags = tags_for(f"f{level}{angle}", "k", lists=LISTS)
    assert tags is not None
    assert f"from {view}" in tags
    assert ("B" in tags) == (angle in (0, 1, 2, 6, 7))
    assert ("C" in tags) == (angle in (3, 4, 5))
    midriff = (level == 1 and angle in (0, 1, 2, 6, 7)) or (level == 2 and angle in (0, 1, 7))
    assert ("D" in tags) == midriff
    assert ("smile" in tags) == (angle != 4)
    assert ("looking at viewer" in tags) == (angle == 0) != ("looking away" in tags)


@pytest.mark.parametrize("angle", [1, 2, 3])
def test_angles_beyond_behind_mirror_those_before(angle: int) -> None:
    assert tags_for(f"f1{angle}", "k", lists=LISTS) == tags_for(f"f1{8 - angle}", "k", lists=LISTS)


def test_expressions_and_backgrounds_are_editable() -> None:
    lists = TagLists(backgrounds=("white background",), expressions_behind=True)
    tags = tags_for("b04", "k", (), ["grin"], lists=lists)
    assert tags is not None
    assert tags[:3] == ["k", "white background", "from horizontal"]
    assert tags[-1] == "grin"
    assert tags_for("b00", "k", ["standing"])[1] == "standing"  # a tag comes once, at its first place


@pytest.mark.parametrize("name", ["x00", "f30", "f08", "F00", "00f", "", "f0"])
def test_other_names_have_no_tags(name: str) -> None:
    assert tags_for(name, "k") is None


def test_the_folder_grammar_of_the_example() -> None:
    name = parse_folder_name("4_krnk/kuronekomimi girl, shorthair, choker, ahoge_f0768")
    assert (name.keyword, name.class_tokens) == ("kuronekomimi", "kuronekomimi girl")
    assert (name.extra, name.kind) == (("shorthair", "choker", "ahoge"), "f")
    assert name.flip
    assert not name.flip_said


@pytest.mark.parametrize(
    ("text", "keyword", "flip"),
    [
        ("krnk", "krnk", True),
        ("12_krnk girl_b0512", "krnk", True),
        ("set\\krnk girl_noflip_x", "krnk", False),
        ("3_a/猫耳 少女_flip_noflip_", "猫耳", False),
        ("a_flip_", "a", True),
        ("2girls/x", "x", True),
        ("_f0768", "", True),
    ],
)
def test_folder_names_of_all_kinds(text: str, keyword: str, flip: bool) -> None:
    name = parse_folder_name(text)
    assert (name.keyword, name.flip) == (keyword, flip)


def test_an_empty_folder_name_is_refused() -> None:
    with pytest.raises(InputError):
        parse_folder_name(" / ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "4_krnk" / "krnk girl, 短髪_f0768"
    inner.mkdir(parents=True)
    for name in ("f00_正面😀.png", "f04.jpg", "b12.webp", "cover.png", "f00.mp4"):
        (inner / name).touch()
    return tmp_path / "4_krnk"


def test_captions_are_written_beside_the_pictures_and_reported(folder: Path) -> None:
    report = write_captions(folder)
    assert [path.name for path in report.written] == ["b12.txt", "f00_正面😀.txt", "f04.txt"]
    assert [path.name for path in report.skipped] == ["cover.png"]
    text = report.written[1].read_text(encoding="utf-8")
    assert text.startswith("krnk, 短髪, white background")
    assert text.endswith("blush\n")
    again = write_captions(folder)
    assert again.written == ()
    assert again.unchanged == report.written
    assert not [path for path in folder.rglob("*") if path.suffix == ".part"]


@pytest.mark.parametrize("ending", [".txt", ".caption", ".TXT"])
def test_a_caption_written_by_hand_is_kept_unless_asked(folder: Path, ending: str) -> None:
    mine = folder / "krnk girl, 短髪_f0768" / f"f04{ending}"
    mine.write_bytes("私の字幕".encode("cp932"))
    report = write_captions(folder)
    assert report.kept == (mine,)
    assert mine.read_bytes() == "私の字幕".encode("cp932")
    assert not mine.with_suffix(".txt").exists() or ending == ".txt"
    forced = write_captions(folder, overwrite=True)
    assert len(forced.written) == 1
    assert forced.written[0].read_text(encoding="utf-8").startswith("krnk, 短髪")


def test_an_equal_caption_in_another_encoding_is_left_alone(folder: Path) -> None:
    path = write_captions(folder).written[0]
    data = path.read_text(encoding="utf-8").strip().encode("utf-16")
    path.write_bytes(data)
    assert path in write_captions(folder, overwrite=True).unchanged
    assert path.read_bytes() == data


def test_planning_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    plans, skipped, problems = plan_captions(folder, keyword="neko", folder_tags=["ahoge"])
    assert [plan.action for plan in plans] == ["write"] * 3
    assert len(skipped) == 1
    assert problems == ()
    assert all(plan.text.startswith("neko, ahoge, ") for plan in plans)
    assert sorted(folder.rglob("*")) == before


def test_a_failed_write_leaves_the_old_caption_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "krnk girl, 短髪_f0768" / "f04.txt"
    path.write_text("mine", encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    report = write_captions(folder, overwrite=True)
    assert report.written == ()
    assert len(report.problems) == 3
    assert "No space" in report.problems[0].what
    assert path.read_text(encoding="utf-8") == "mine"
    assert not list(folder.rglob("*.part"))


def test_writing_follows_a_link_and_keeps_the_files_mode(folder: Path) -> None:
    target = folder / "elsewhere.txt"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o640)
    link = folder / "krnk girl, 短髪_f0768" / "f04.txt"
    link.symlink_to(target)
    write_captions(folder, overwrite=True)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("krnk")
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_captions(tmp_path / "gone")

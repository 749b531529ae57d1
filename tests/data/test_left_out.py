"""What a folder holds besides pictures that are trained: nothing of it is passed over in silence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.data.files import shown
from lib_lora.data.folder import scan
from lib_lora.data.kinds import can_read, kind_of, plugin_kinds
from lib_lora.data.tags import write_captions
from lib_lora.errors import InputError
from tests.cases import case

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
JXL = b"\xff\x0a\xfa\x1f\x41\x91\x08\x06\x01\x00\x3c\x00"


def names(result) -> list[str]:
    return [picture.path.name for picture in result.pictures]


@pytest.fixture
def no_plugins(monkeypatch):
    """A Pillow without plugins, whatever is installed."""
    monkeypatch.setattr("lib_lora.data.kinds._load", lambda kind: None)
    monkeypatch.setattr(Image, "OPEN", {kind: Image.OPEN[kind] for kind in ("PNG", "JPEG", "PPM") if Image.init() or 1})
    can_read.cache_clear()
    yield
    can_read.cache_clear()


def test_pictures_of_unread_kinds_are_counted_by_ending(make_picture, tmp_path: Path, no_plugins) -> None:
    make_picture("1_x/a.png")
    for name, data in (("IMG_1.HEIC", HEIC), ("IMG_2.heic", HEIC), ("b.jxl", JXL), ("c.psd", b"8BPS"), ("d.CR3", b"")):
        (tmp_path / "1_x" / name).write_bytes(data)
    result = scan(tmp_path)
    assert names(result) == ["a.png"]
    said = "5 files are of a kind that cannot be read (.cr3 1, .heic 2, .jxl 1, .psd 1): save them as JPEG or PNG"
    assert result.warnings == (said,)
    assert result.unread == ((".cr3", 1), (".heic", 2), (".jxl", 1), (".psd", 1))
    assert said in result.remarks


def test_one_of_a_kind_and_a_false_ending(make_picture, tmp_path: Path, no_plugins) -> None:
    make_picture("1_x/a.png")
    (tmp_path / "1_x" / "phone.jpg").write_bytes(HEIC)
    assert scan(tmp_path).warnings == (
        "1 file is of a kind that cannot be read (HEIF as .jpg 1): save it as JPEG or PNG",
    )


def test_a_folder_of_unread_pictures_alone_says_what_they_are(tmp_path: Path, no_plugins) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    with pytest.raises(InputError) as caught:
        scan(tmp_path)
    assert "1 file is of a kind that cannot be read (.heic 1)" in str(caught.value)


def test_unread_pictures_of_a_folder_without_others_count_too(make_picture, tmp_path: Path, no_plugins) -> None:
    make_picture("set/1_x/a.png")
    (tmp_path / "set" / "2_phone").mkdir()
    (tmp_path / "set" / "2_phone" / "b.heic").write_bytes(HEIC)
    assert scan(tmp_path / "set").unread == ((".heic", 1),)


def test_a_plugin_makes_a_kind_readable(make_picture, tmp_path: Path, monkeypatch, no_plugins) -> None:
    path = make_picture("a.png")
    path = shutil.move(path, tmp_path / "a.heic")
    path.write_bytes(HEIC)
    assert kind_of(path) == ("unread", ".heic")
    can_read.cache_clear()
    monkeypatch.setitem(Image.OPEN, "HEIF", (type("Opener", (), {}), None))
    assert kind_of(path) == ("picture", ".heic")
    assert plugin_kinds() == ("HEIF",)


@pytest.mark.parametrize(
    "name", ["$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir", ".git", "Thumbs"]
)
def test_what_the_system_keeps_is_not_trained_nor_captioned(make_picture, tmp_path: Path, name: str) -> None:
    make_picture("10_krnk girl/f00.png")
    make_picture(f"{name}/S-1-5-21/b00.png", seed=1)
    result = scan(tmp_path)
    assert names(result) == ["f00.png"]
    assert any(name in notice and "left out" in notice for notice in result.notices)
    assert [path.name for path in write_captions(tmp_path).written] == ["f00.txt"]


def test_hidden_pictures_are_said_and_resource_forks_are_not(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    make_picture("1_x/.hidden.png", seed=1)
    (tmp_path / "1_x" / "._a.png").write_bytes(b"\0\x05\x16\x07")
    (tmp_path / "1_x" / ".DS_Store").touch()
    (said,) = [notice for notice in scan(tmp_path).notices if "left out" in notice]
    assert said == "hidden or of the system, so left out: .hidden.png"


def test_other_files_and_captions_without_picture_are_said(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    for name in ("a.txt", "a.caption", "gone.txt", "notes.md", "b.zip", "Makefile"):
        (tmp_path / "1_x" / name).write_text("krnk", encoding="utf-8")
    result = scan(tmp_path)
    assert "neither pictures nor captions, so not read: .md 1, .zip 1, no ending 1" in result.notices
    assert "1 file with a caption for no picture: not used (gone.txt)" in result.notices
    assert "1 file with a second caption: the other counts (a.caption)" in result.notices


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_pipes_and_broken_links_are_problems_and_never_waited_for(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    os.mkfifo(tmp_path / "1_x" / "pipe.png")
    (tmp_path / "1_x" / "link.png").symlink_to(tmp_path / "nothing.png")
    problems = scan(tmp_path).problems
    assert [problem.path.name for problem in problems] == ["link.png", "pipe.png"]
    assert all("broken link" in problem.what for problem in problems)


def test_linked_folders_are_read_and_loops_end(make_picture, tmp_path: Path) -> None:
    make_picture("elsewhere/a.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "10_krnk").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "2_back").symlink_to(tmp_path / "set", target_is_directory=True)
    result = scan(tmp_path / "set")
    assert [(picture.path.name, picture.repeats) for picture in result.pictures] == [("a.png", 10)]
    assert [path.name for path in write_captions(tmp_path / "set", keyword="k").skipped] == ["a.png"]


def test_a_folder_named_like_a_caption_is_no_caption(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    (tmp_path / "1_x" / "a.txt").mkdir()
    result = scan(tmp_path)
    assert result.pictures[0].caption == "x"
    assert any("a.txt is not read" in said for said in result.warnings)


def test_names_with_line_breaks_stay_one_line(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/good.png")
    (tmp_path / "1_x" / "a\nb\x1b[31m.png").write_bytes(b"")
    remarks = scan(tmp_path).remarks
    assert not any(set(said) & {"\n", "\x1b"} for said in remarks)
    assert any("a\\nb\\x1b[31m.png: The file is empty" in said for said in remarks)
    assert shown("日本語 é") == "日本語 é"


@pytest.mark.parametrize(
    ("name", "inner", "pictures"),
    [("heic-ignored", ".", 2), ("recycle-bin", "disk", 2), ("multi-line-captions", ".", 2)],
)
def test_deleted_and_unreadable_pictures_of_peoples_folders_are_left_out(
    name: str, inner: str, pictures: int, no_plugins
) -> None:
    result = scan(case(name) / inner)
    assert len(result.pictures) == pictures
    if name == "heic-ignored":
        assert "3 files are of a kind that cannot be read (.heic 2, .jxl 1): save them as JPEG" in result.warnings[0]


def test_folders_and_their_repeats_are_said_where_there_are_several(make_picture, tmp_path: Path) -> None:
    make_picture("set/10_krnk/a.png")
    assert not any("repeats:" in said for said in scan(tmp_path / "set").notices)
    make_picture("set/5_krnk/b.png", seed=1)
    assert "folders, with pictures and repeats: 10_krnk 1 × 10, 5_krnk 1 × 5" in scan(tmp_path / "set").notices


def test_names_that_differ_in_case_alone_share_a_caption_and_it_is_said(make_picture, tmp_path: Path) -> None:
    make_picture("1_x/a.png")
    make_picture("1_x/A.jpg", seed=1)
    (tmp_path / "1_x" / "a.txt").write_text("krnk", encoding="utf-8")
    result = scan(tmp_path)
    assert [picture.caption for picture in result.pictures] == ["krnk", "krnk"]
    assert any("2 files with the same name" in said for said in result.notices)

"""The one walker: what it meets, what it leaves out, and that nothing makes it hang or stop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib_lora.walk import files_below, list_folder, walk


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(paths) -> list[str]:
    return [path.name for path in paths]


def test_every_folder_is_met_once_and_endings_count_in_any_case(tmp_path: Path) -> None:
    make(tmp_path, "a/x.PNG", "a/deep/er/y.Png", "b/z.png", "b/notes.txt")
    assert names(files_below(tmp_path, {".png"})) == ["y.Png", "x.PNG", "z.png"]


SYSTEM = ["$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found", "__MACOSX", "@eaDir", "#recycle",
          "@Recycle", "Thumbs", ".git", ".Trash-1000", "$recycle.bin"]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM)
def test_folders_of_the_system_are_left_out_unless_they_are_the_root(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"{name}/S-1-5-21/gone.png", "mine/a.png")
    assert names(files_below(tmp_path, {".png"})) == ["a.png"]
    assert names(list_folder(tmp_path).left_out) == [name]
    assert names(files_below(tmp_path / name, {".png"})) == ["gone.png"]


def test_hidden_files_of_other_systems_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r")
    listing = list_folder(tmp_path)
    assert names(listing.files) == ["a.png"]
    assert len(listing.left_out) == 5


def test_links_are_followed_once_and_never_round(tmp_path: Path) -> None:
    make(tmp_path, "root/real/a.png", "elsewhere/b.png")
    root = tmp_path / "root"
    (root / "0_before").symlink_to(root / "real", target_is_directory=True)
    (root / "out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "real" / "round").symlink_to(root, target_is_directory=True)
    (root / "itself").symlink_to("itself")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = files_below(root, {".png"})
    assert [path.relative_to(root).as_posix() for path in found] == ["out/b.png", "real/a.png"]


def test_what_is_no_plain_file_is_set_apart(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "linked.png").symlink_to(tmp_path / "a.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    listing = list_folder(tmp_path)
    assert names(listing.files) == ["a.png", "linked.png"]
    assert names(listing.odd) == ["broken.png"] + (["pipe.png"] if hasattr(os, "mkfifo") else [])


def test_folders_that_cannot_be_read_are_told_and_the_rest_is_walked(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path, "closed/a.png", "open/b.png")
    plain = os.listdir

    def listdir(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return plain(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    told = []
    met = list(walk(tmp_path, failed=lambda path, error: told.append((path.name, error.errno))))
    assert names([path for one in met for path in one.files]) == ["b.png"]
    assert told == [("closed", 13)]


def test_folders_deeper_than_a_path_may_be_long_end(tmp_path: Path) -> None:
    here, wanted, name = os.getcwd(), 30, "deeper" * 40  # 7,200 characters; Linux takes 4,096
    try:
        os.chdir(tmp_path)
        for _ in range(wanted):  # step by step: no system takes so long a path at once
            os.mkdir(name)
            os.chdir(name)
    finally:
        os.chdir(here)
    told = []
    met = list(walk(tmp_path, failed=lambda path, error: told.append(path)))
    assert 5 < len(met) <= wanted + 1
    assert told == []
    assert len(met[-1].odd) == (len(met) <= wanted)  # the first that the system cannot reach


def test_no_folder_yields_nothing(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    assert list(walk(tmp_path / "missing")) == list(walk(tmp_path / "a.png")) == []

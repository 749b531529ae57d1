"""Dropped pictures: taken once, never over another, refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_lora.errors import FileError, InputError
from lib_lora.services.atelier import Folders
from lib_lora.services.uploads import take_picture


class Owner:
    def __init__(self, folders: Folders, limit: int = 2**20) -> None:
        self.folders, self.upload_limit = folders, limit


@pytest.fixture
def owner(tmp_path):
    return Owner(Folders.under(tmp_path / "data", confined=True))


def drop(folder: Path, name: str, color: str = "red") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    Image.new("RGB", (16, 16), color).save(path)
    return path


def test_the_same_picture_is_taken_once_and_another_of_its_name_gets_a_number(owner, tmp_path):
    place = owner.folders.pictures / "krnk"
    first = take_picture(owner, drop(tmp_path / "a", "絵.png"), place)
    again = take_picture(owner, drop(tmp_path / "b", "絵.png"), place)
    other = take_picture(owner, drop(tmp_path / "c", "絵.png", "blue"), place)
    assert (first.name, again, other.name) == ("絵.png", first, "絵_2.png")


def test_a_broken_picture_is_refused_by_the_name_that_was_dropped(owner, tmp_path):
    broken = drop(tmp_path / "temp", "broken.png")
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(FileError) as told:
        take_picture(owner, broken, owner.folders.pictures / "x")
    assert told.value.where == "broken.png"
    assert not (owner.folders.pictures / "x").exists()


def test_too_large_a_file_and_no_picture_are_refused(owner, tmp_path):
    owner.upload_limit = 10
    with pytest.raises(FileError, match="limit for one file"):
        take_picture(owner, drop(tmp_path / "a", "big.png"), owner.folders.pictures)
    text = tmp_path / "notes.txt"
    text.write_text("no picture", encoding="utf-8")
    with pytest.raises(FileError, match="not a picture"):
        take_picture(owner, text, owner.folders.pictures)


def test_a_listening_server_takes_pictures_into_its_own_folders_only(owner, tmp_path):
    with pytest.raises(InputError, match="only use its own folders"):
        take_picture(owner, drop(tmp_path / "a", "a.png"), tmp_path / "elsewhere")

"""Names among thousands of files: the folders are read once, a change is seen at once, near names are found quickly."""

from __future__ import annotations

import difflib
import os
import time
from pathlib import Path

import pytest

from lib_lora.blocks.near import near_names
from lib_lora.errors import InputError
from lib_lora.host.lora_files import LoraIndex
from lib_lora.walk import files_below

MANY = [
    f"{kind}_{place}_{number:03d}" for number in range(50) for kind in ("style", "girl") for place in ("sea", "town")
]


class Library:
    """A folder of LoRAs that counts how often it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.index, self.reads = folder, LoraIndex(), 0

    def read(self) -> dict[str, Path]:
        self.reads += 1
        return {path.stem: path for path in files_below(self.folder, (".safetensors",))}

    def files(self) -> dict[str, Path]:
        return dict(self.index.files([self.folder], self.read))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "inner").mkdir()
    for name in MANY:
        (tmp_path / "inner" / f"{name}.safetensors").touch()
    settle(tmp_path)
    return Library(tmp_path)


def settle(folder: Path) -> None:
    """Let the folder and those in it look as if nothing had changed for a while."""
    then = time.time() - 60
    for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        os.utime(each, (then, then))


def test_a_folder_that_rests_is_read_once(library: Library) -> None:
    for _ in range(200):
        assert len(library.files()) == len(MANY)
    assert library.reads == 1


@pytest.mark.parametrize("place", [".", "inner", "inner/new"])
def test_a_file_that_comes_or_goes_is_seen_at_once(library: Library, place: str) -> None:
    assert "new" not in library.files()
    new = library.folder / place / "new.safetensors"
    new.parent.mkdir(exist_ok=True)
    new.touch()
    assert library.files()["new"] == new
    new.unlink()
    assert "new" not in library.files()


def test_a_folder_that_changed_a_moment_ago_is_not_believed_to_rest(library: Library) -> None:
    (library.folder / "a.safetensors").touch()
    library.files()
    stamp = library.folder.stat()
    (library.folder / "b.safetensors").touch()
    os.utime(library.folder, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # a clock too coarse to show the change
    assert {"a", "b"} <= library.files().keys()


def test_other_folders_and_what_is_forgotten_are_read(
    library: Library, tmp_path_factory: pytest.TempPathFactory
) -> None:
    library.files()
    library.index.clear()
    library.files()
    assert library.reads == 2
    assert library.index.files([tmp_path_factory.mktemp("other")], dict) == {}


def test_the_studio_reads_its_folders_once_for_many_tags(studio, library: Library, monkeypatch) -> None:
    host = type(studio)(studio.model, (library.folder,), studio.presets)
    reads = []
    monkeypatch.setattr("lib_lora.host.studio.host.named_files", lambda folders: reads.append(1) or library.read())
    for name in MANY[:100]:
        assert host.find_lora(name).stem == name
    for name in MANY[:100]:
        with pytest.raises(InputError, match="There is no LoRA called") as told:
            host.find_lora(name + "x")
        assert name in told.value.cure
    assert len(reads) == 1


@pytest.mark.parametrize("name", ["Style_sea_007", "girl_twn_04", "town", "x", "", "girl_sea_0011", "seastyle", "少女"])
def test_near_names_are_those_of_difflib(name: str) -> None:
    """The best score is the same; among equally near ones any may stand."""

    def score(found: str) -> float:
        return difflib.SequenceMatcher(None, found.casefold(), name.casefold()).ratio()

    theirs = difflib.get_close_matches(name.casefold(), MANY, n=3, cutoff=0.5)
    ours = near_names(name, MANY)
    assert bool(ours) == bool(theirs)
    assert not ours or score(ours[0]) == pytest.approx(score(theirs[0]))


def test_a_name_of_a_megabyte_costs_nothing() -> None:
    began = time.perf_counter()
    near_names("x" * 1_000_000, MANY)
    assert time.perf_counter() - began < 1

"""Names, covers and edits of LoRA files: what a person changes, and what must stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
from PIL import Image

from lib_lora.errors import FileError, InputError
from lib_lora.formats import editing
from lib_lora.formats.cover import COVERS, THUMBNAIL, read_cover, with_cover, without_cover
from lib_lora.formats.editing import Edit, edited, hashes_of, plan, write_copy, write_in_place
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import private_keys
from lib_lora.formats.names import file_stem, proposed_stem
from lib_lora.formats.search import find_files
from tests.formats.lora_samples import key_for, sample

ROOT = Path(__file__).resolve().parents[2]
RED = Image.new("RGB", (800, 400), "red")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "x.safetensors"
    tensors = {f"{key_for('linear')}.{name}": tensor for name, tensor in sample("linear").items()}
    metadata = {"ss_seed": "1", "sshs_model_hash": "wrong", "ss_dataset_dirs": "{}", "modelspec.title": "old"}
    safetensors.torch.save_file(tensors, target, metadata)
    return target


def data(path: Path) -> bytes:
    return path.read_bytes()[read_header(path).data_start :]


@pytest.mark.parametrize(("typed", "stem"), [("a", "a"), (" a b.safetensors ", "a b"), ("少女_1.0", "少女_1.0")])
def test_usable_names_are_taken_as_typed(typed: str, stem: str) -> None:
    assert file_stem(typed) == stem


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        ".safetensors",
        "a/b",
        "..\\b",
        "..",
        ".hidden",
        "a:b",
        "a\nb",
        "a\0",
        "CON",
        "nul.txt",
        "a. ",
        "CON .txt",
        "com¹",
        "ConIn$",
        ".atelier-0",
        "x" * 201,
        "<a>",
    ],
)
def test_names_that_lead_elsewhere_or_work_nowhere_are_refused(typed: str) -> None:
    with pytest.raises(InputError):
        file_stem(typed.rstrip() if typed == "a. " else typed)


@pytest.mark.parametrize("parts", [["a/b:c", "0,5"], [""], ["..", "."], ["少女" * 200], ["a\nb"], ["con"]])
def test_every_proposed_name_is_usable_and_free(parts: list[str]) -> None:
    first = proposed_stem(parts)
    second = proposed_stem(parts, taken=[first.upper()])
    assert second.casefold() != first.casefold()
    for name in (first, second):
        assert file_stem(name) == name


def test_a_cover_is_small_and_comes_back_from_either_key() -> None:
    metadata = with_cover({"a": "b"}, RED)
    assert len(metadata[THUMBNAIL]) < 40_000
    for key in (THUMBNAIL, COVERS):
        shown = read_cover({key: metadata[key]})
        assert shown.size == (384, 192)
        assert shown.getpixel((9, 9))[0] > 240
    assert without_cover(metadata) == {"a": "b"}


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '["@@"]', '["aGFsbG8="]', '{"a": 1}', "[" * 9999])
def test_a_strangers_broken_cover_is_no_cover(text: str) -> None:
    assert read_cover({COVERS: text, THUMBNAIL: f"data:image/png;base64,{text}"}) is None


def test_an_edit_is_planned_first_and_touches_only_what_it_says(path: Path) -> None:
    before = path.read_bytes()
    changes = plan(path, Edit({"title": "new", "author": ""}, cover=RED, drop_private=True))
    keys = {change.key for change in changes}
    assert keys == {"ss_dataset_dirs", "modelspec.title", "ssmd_display_name", THUMBNAIL}
    assert path.read_bytes() == before
    assert plan(path, Edit({"title": "old"})) == ()


def test_a_copy_and_an_edit_in_place_leave_the_tensors_and_repair_the_hash(path: Path) -> None:
    before = path.read_bytes()
    copy = write_copy(path, path.with_name("y.safetensors"), Edit({"author": "私"}))
    assert path.read_bytes() == before
    target, backup = write_in_place(path, Edit({"author": "私"}))
    assert (target, backup.read_bytes()) == (path, before)
    for written in (copy, path):
        assert data(written) == before[len(before) - len(data(written)) :]
        hashes = hashes_of(written)
        assert (hashes.stored, hashes.stored_legacy) == (hashes.computed, hashes.computed_legacy)
        assert read_header(written).metadata["modelspec.author"] == "私"
    names = ["x.safetensors", "x.safetensors.bak1", "x.safetensors.original", "y.safetensors"]
    assert sorted(p.name for p in path.parent.iterdir()) == names
    with pytest.raises(FileError, match="exists already"):
        write_copy(path, copy, Edit())


def test_backups_move_up_and_the_oldest_goes(path: Path) -> None:
    for number in range(5):
        write_in_place(path, Edit({"notes": str(number)}))
    names = [path.with_name(f"x.safetensors.bak{n}") for n in (1, 2, 3, 4)]
    kept = [read_header(name).metadata["atelier_notes"] for name in names[:3]]
    assert (kept, names[3].exists()) == (["3", "2", "1"], False)


def test_a_disk_that_refuses_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    real = os.replace

    def refuse(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(editing.os, "replace", refuse)
    with pytest.raises(FileError, match="cannot be changed in place"):
        write_in_place(path, Edit({"title": "new"}))
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".atelier*"))


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.with_name("link.safetensors")
    link.symlink_to(path)
    assert write_in_place(link, Edit({"title": "new"}))[0] == path
    assert link.is_symlink()
    assert read_header(link).metadata["modelspec.title"] == "new"


@pytest.mark.parametrize(
    "fields", [{"preferred_weight": "much"}, {"preferred_weight": "1e999"}, {"block_weights": "1,2"}, {"color": "red"}]
)
def test_fields_that_cannot_be_right_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InputError):
        edited({}, Edit(fields))


def test_paths_are_private_under_whatever_key_and_own_words_are_not() -> None:
    metadata = {
        "some_tool": '{"dir": "C:\\\\Users\\\\me\\\\pictures"}',
        "other": "/home/me/x",
        "atelier_options": "x",
        "modelspec.description": "lies in /home/me",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "ss_network_args": '{"conv_dim": "4"}',
    }
    assert private_keys(metadata) == ("some_tool", "other", "atelier_options")


def test_files_are_found_by_what_they_say_and_broken_ones_named(path: Path) -> None:
    broken = path.with_name("b.safetensors")
    broken.write_bytes(b"no")
    files = {"x": path, "b": broken}
    assert find_files(files, "OLD") == (["x"], ["b"])
    assert find_files(files, "") == (["b", "x"], [])
    assert find_files(files, "b") == (["b"], [])


KILLED = """
import os, sys
from lib_lora.formats import editing
from lib_lora.formats.editing import Edit, write_in_place

def die(*_, **__):
    os.kill(os.getpid(), 9)

setattr(editing if sys.argv[2] in vars(editing) else editing.os, sys.argv[2], die)
write_in_place(sys.argv[1], Edit({"title": "new"}))
"""


@pytest.mark.parametrize("step", ["rewrite_metadata", "keep_original", "back_up", "replace", "link"])
def test_a_kill_in_the_middle_leaves_the_file_and_nothing_that_is_listed(path: Path, step: str) -> None:
    before = path.read_bytes()
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(path), step], cwd=ROOT, check=False)
        assert done.returncode == -9
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir() if one.suffix == ".safetensors"] == [path.name]
    for one in path.parent.glob(".atelier-*"):
        os.utime(one, (0, 0))  # an hour later
    time.sleep(1.1)
    write_in_place(path, Edit({"title": "new"}))
    assert not list(path.parent.glob(".atelier-*"))
    assert path.with_name("x.safetensors.original").read_bytes() == before


FULL = """
import resource, signal, sys
from lib_lora.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
sys.exit(main())
"""


def test_a_full_disk_leaves_file_and_backups(path: Path) -> None:
    write_in_place(path, Edit({"notes": "n"}))
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    arguments = ["label", str(path), "--in-place", "--set", f"description={'x' * 4000}", "--json"]
    full = [sys.executable, "-c", FULL, *arguments]
    done = subprocess.run(full, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The disk is full" in done.stdout
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before

"""`label` for files and folders, with previews, undo and the WebUI's cards; `find`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_lora.cli import main as cli
from lib_lora.formats.header import read_header
from tests.services.test_label_many import make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("girl", "dress", "style")):
        make(tmp_path, name, {"ss_seed": "1", "ss_tag_frequency": json.dumps({"10_x": {name: 3}})}, seed=number)
    return tmp_path


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


def test_a_folder_is_previewed_changed_and_brought_back(folder: Path, capsys) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    change = ("--set", "author=me", "--entries", "ss_clip_skip=2", "ss_seed=", "--card", "write")
    code, told, _ = run(capsys, "label", folder, "--preview", *change)
    assert (code, told.count("modelspec.author: – → me"), told.count("ss_seed: 1 → –")) == (0, 3, 3)
    assert "3 of 3 files would change" in told
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    code, told, _ = run(capsys, "label", folder, "--in-place", *change, "--json")
    rows = json.loads(told)["files"]
    assert (code, len(rows)) == (0, 3)
    assert all(row["hash_before"] == row["hash_after"] for row in rows)
    assert (folder / "girl.json").exists()
    code, told, _ = run(capsys, "label", folder, "--undo")
    assert (code, "3 of 3 files brought back" in told) == (0, True)
    assert all((folder / name).read_bytes() == content for name, content in before.items())


def test_a_broken_file_is_named_and_the_exit_code_tells(folder: Path, capsys) -> None:
    (folder / "broken.safetensors").write_bytes(b"12345678")
    code, told, said = run(capsys, "label", folder, "--in-place", "--set", "author=me")
    assert (code, "3 of 4 files changed, 1 failed" in told, "broken.safetensors" in said) == (1, True, True)
    code, told, _ = run(capsys, "label", folder / "girl.safetensors", "--original")
    assert (code, "author" in told) == (0, True)
    assert "modelspec.author" not in read_header(folder / "girl.safetensors").metadata


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--in-place"], "Nothing is to be changed"),
        (["--preview", "--set", "titel=x"], "There is no option “titel”"),
        (["--preview", "--entries", "titel=x"], "none that other programs know"),
        (["--preview", "--entries", "x"], "is not key=value"),
        (["--out", "y.safetensors", "--set", "title=x"], "A copy is of one file"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, capsys, arguments: list[str], said: str) -> None:
    code, _, told = run(capsys, "label", folder, *arguments)
    assert (code, said in told) == (2, True), told


def test_loras_are_found_by_tags_and_by_their_card(folder: Path, capsys) -> None:
    (folder / "style.json").write_text('{"activation text": "wonderful light"}', encoding="utf-8")
    (folder / "broken.safetensors").write_bytes(b"12345678")
    code, told, said = run(capsys, "find", "Wonderful", "--lora-dir", folder)
    assert (code, told.splitlines()) == (0, [str(folder / "style.safetensors"), "1 of 4 files"])
    assert "broken" in said
    assert json.loads(run(capsys, "find", "dress", "--lora-dir", folder, "--json")[1])["loras"] == ["dress"]


@pytest.mark.parametrize("out", ["girl.safetensors", "link.safetensors", "folder/../girl.safetensors"])
def test_a_copy_onto_the_file_itself_keeps_what_it_was(folder: Path, capsys, monkeypatch, out: str) -> None:
    monkeypatch.chdir(folder)
    (folder / "folder").mkdir()
    (folder / "link.safetensors").symlink_to("girl.safetensors")
    before = (folder / "girl.safetensors").read_bytes()
    code, _, _ = run(capsys, "label", folder / "girl.safetensors", "--set", "title=x", "--out", out, "--overwrite")
    assert (code, (folder / "girl.safetensors.original").read_bytes()) == (0, before)
    assert read_header(folder / "girl.safetensors").metadata["modelspec.title"] == "x"
    assert (folder / "link.safetensors").is_symlink()


def test_a_weight_in_full_width_is_a_number(folder: Path, capsys) -> None:
    code, _, _ = run(capsys, "label", folder / "girl.safetensors", "--set", "preferred_weight=０．８", "--in-place")
    assert (code, read_header(folder / "girl.safetensors").metadata["atelier_preferred_weight"]) == (0, "0.8")


@pytest.mark.parametrize("vector", ["1" + ",1" * 19, "1" + ",R" * 16, "1,2"])
def test_block_weights_that_the_file_cannot_have_are_refused(folder: Path, capsys, vector: str) -> None:
    file = folder / "girl.safetensors"
    before = file.read_bytes()
    code, _, said = run(capsys, "label", file, "--set", f"block_weights={vector}", "--in-place")
    assert (code != 0, "error: " in said, file.read_bytes() == before) == (True, True, True)
    code, _, _ = run(capsys, "label", file, "--set", f"block_weights={'1' + ',0.5' * 16}", "--in-place")
    assert code == 0


def test_a_path_in_a_text_of_ones_own_is_said_when_private_ones_go(folder: Path, capsys) -> None:
    file = folder / "girl.safetensors"
    run(capsys, "label", file, "--set", "notes=see /home/me/girl", "source_url=https://a.example/b/c", "--in-place")
    code, told, _ = run(capsys, "label", file, "--remove-private", "--in-place")
    assert (code, "The text of notes holds a path" in told) == (0, True)
    assert read_header(file).metadata["atelier_notes"] == "see /home/me/girl"

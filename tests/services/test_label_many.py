"""One change for many files: planned first, and no file that is broken, locked or odd keeps the others from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import safetensors.torch

from lib_lora.errors import FileError, InputError
from lib_lora.formats import backups
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import describe
from lib_lora.progress import QUIET
from lib_lora.services import label_many, labels
from lib_lora.services.labels import LabelOptions
from tests.formats.lora_samples import key_for, sample

ODD = {
    "plain": {"ss_seed": "1"},
    "huge": {"modelspec.description": "x" * 3_000_000, "ss_tag_frequency": "[" * 50_000},
    "control": {"modelspec.title": "a\x00\x1b[31m\u202e\n", "ss_tag_frequency": '{"a": {"b\\u0000": 1, "c": "x"}}'},
    "types": {"ss_tag_frequency": "7", "ssmd_cover_images": "{", "modelspec.thumbnail": "data:,", "ss_datasets": "{"},
    "numbers": {"ss_training_started_at": "None", "ss_network_dim": "", "modelspec.date": "yesterday"},
    "none": {},
}


def make(folder: Path, name: str, metadata: dict[str, str], seed: int = 0) -> Path:
    target = folder / f"{name}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{key_for('linear')}.{part}": tensor for part, tensor in sample("linear", seed=seed).items()}
    safetensors.torch.save_file(tensors, target, metadata or None)
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (name, metadata) in enumerate(ODD.items()):
        make(tmp_path / "loras", name, metadata, seed=number)
    make(tmp_path / "loras" / "sub", "plain", {"ss_seed": "2"})
    (tmp_path / "loras" / "broken.safetensors").write_bytes(b"12345678")
    return tmp_path / "loras"


def data(path: Path) -> bytes:
    return path.read_bytes()[read_header(path).data_start :]


def test_a_folder_is_planned_shown_written_and_brought_back(folder: Path) -> None:
    paths = label_many.files_of([folder])
    assert set(paths) == {*ODD, "broken", "sub/plain"}
    before = {name: path.read_bytes() for name, path in paths.items()}
    order = LabelOptions(author="me", remove_private=True).order()
    planned, failed = label_many.plan_many(paths, order)
    assert {name: path.read_bytes() for name, path in paths.items()} == before
    assert set(planned) == {*ODD, "sub/plain"}
    assert all(any(change.key == "modelspec.author" for change in one.changes) for one in planned.values())
    assert ["broken.safetensors" in error.where for error in failed] == [True]
    tensors = {name: data(path) for name, path in paths.items() if name in planned}
    written, failed = label_many.write_many(paths, order, QUIET)
    assert {name: made.changes for name, made in written.items()} == {
        name: one.all_changes for name, one in planned.items()
    }
    for name, made in written.items():
        assert data(paths[name]) == tensors[name]
        assert made.hash_before == made.hash_after == read_header(paths[name]).metadata["sshs_model_hash"]
        labels.undo(paths[name])
        assert paths[name].read_bytes() == before[name]
    assert len(failed) == 1


def test_the_first_state_stays_whatever_happens_later(folder: Path) -> None:
    path = folder / "plain.safetensors"
    before = path.read_bytes()
    for number in range(6):
        labels.write(path, LabelOptions(notes=str(number)).order())
    assert path.with_name("plain.safetensors.original").read_bytes() == before
    assert not path.with_name("plain.safetensors.bak4").exists()
    again = make(folder, "plain", {"ss_seed": "9"}, seed=99).read_bytes()
    with pytest.raises(InputError, match="other tensors"):
        labels.undo(path)
    labels.write(path, LabelOptions(notes="new").order())
    first = path.with_name("plain.safetensors.original")
    assert [one.name for one in backups.originals(path)] == [f"{first.name}2", first.name]
    labels.undo(path, original=True)
    assert (path.read_bytes(), first.read_bytes()) == (again, before)


def test_backups_of_an_older_version_count_as_the_first_state(folder: Path) -> None:
    path = folder / "plain.safetensors"
    before = path.read_bytes()
    labels.write(path, LabelOptions(notes="1").order())
    path.with_name("plain.safetensors.original").unlink()
    labels.write(path, LabelOptions(notes="2").order())
    assert path.with_name("plain.safetensors.original").read_bytes() == before


def test_a_change_that_no_file_can_take_is_one_error(folder: Path) -> None:
    paths = label_many.files_of([folder / "plain.safetensors", folder / "none.safetensors"])
    with pytest.raises(InputError, match="no number"):
        label_many.plan_many(paths, LabelOptions(preferred_weight="much").order())


def test_what_is_no_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    for given, kind in (
        (tmp_path / "empty", InputError),
        (tmp_path / "no", FileError),
        (tmp_path / "a.txt", FileError),
    ):
        with pytest.raises(kind):
            label_many.files_of([given])
    assert len(label_many.files_of([folder / "plain.safetensors", folder / "sub"])) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sshs_model_hash", "1"),
        ("modelspec.hash_sha256", "0x1"),
        ("modelspec.thumbnail", "data:"),
        ("atelier_recipe", "[]"),
        ("lora_adapter_metadata", "{}"),
        ("modelspec.title", "t"),
        ("titel", "x"),
        ("ss_" + "x" * 200, "x"),
        ("ss_tag_frequency", "cat, dog"),
        ("ss_datasets", "{}"),
        ("ss_training_started_at", "None"),
        ("ss_comment", "x" * 100_001),
    ],
)
def test_entries_that_readers_could_not_take_are_refused(folder: Path, key: str, value: str) -> None:
    with pytest.raises(InputError):
        labels.prepare(folder / "plain.safetensors", LabelOptions(entries={key: value}).order())


def test_any_entry_of_a_trainer_can_be_changed_and_removed(folder: Path) -> None:
    path = folder / "plain.safetensors"
    entries = {"ss_clip_skip": "2", "ss_seed": "", "modelspec.license": "CC0", "ss_tag_frequency": '{"a": {"krnk": 3}}'}
    labels.write(path, LabelOptions(entries=entries, trigger_words="krnk, hat").order())
    found = read_header(path).metadata
    assert (found["ss_clip_skip"], found["modelspec.license"], "ss_seed" in found) == ("2", "CC0", False)
    assert describe(found).triggers == (("krnk", 3), ("hat", 0))
    with safetensors.safe_open(path, "pt") as opened:  # what every other program reads it with
        assert opened.metadata() == found
    with pytest.raises(InputError, match="texts by name"):
        LabelOptions(entries={"ss_seed": 1}).order()


@pytest.mark.parametrize("text", ["FACE", "face", "ALL", "ALL0.5", "1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", " "])
def test_block_weights_that_everybody_can_read_are_written_without_a_word(tmp_path: Path, text: str) -> None:
    assert labels.prepare(make(tmp_path, "one", {}), LabelOptions(block_weights=text).order()).notes == ()


def test_a_name_that_only_the_writer_knows_is_said(tmp_path: Path) -> None:
    planned = labels.prepare(make(tmp_path, "one", {}), LabelOptions(block_weights="FACEE").order())
    assert "FACEE" in str(planned.notes[0])
    assert [change.after for change in planned.changes if "block" in change.key] == ["FACEE"]
    with pytest.raises(InputError):
        labels.prepare(make(tmp_path, "two", {}), LabelOptions(block_weights="1,0,0").order())

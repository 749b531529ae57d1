"""``extract`` and ``into-checkpoint``: what they take, refuse and print."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.cli import common
from lib_lora.cli import main as cli
from lib_lora.cli.typed_rows import typed_rows
from lib_lora.errors import FileError, InputError
from lib_lora.formats.files import read_tensors
from lib_lora.formats.lora import read_lora
from tests.merge import checkpoint_pairs as made
from tests.merge.test_extract import KEYS, differences, pair_of, relative


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


def test_what_is_extracted_can_be_written_into_the_original_and_gives_the_tuned_one(tmp_path: Path, capsys) -> None:
    tuned, original = pair_of(tmp_path, "sdxl")
    lora, new = tmp_path / "lora.safetensors", tmp_path / "new.safetensors"
    arguments = ["--rank", 12, "--precision", "fp32", "--norms", "--json"]
    code, out, _ = run(capsys, "extract", tuned, original, "--out", lora, *arguments)
    result = json.loads(out)
    assert (code, result["family"], result["modules"]) == (0, "sdxl", len(read_lora(lora).adapters))
    assert result["relative_error"] < 1e-4
    assert set(result["blocks"]) == {"BASE", "IN04"}
    code, out, _ = run(capsys, "into-checkpoint", original, f"{lora}:1", "--out", new, "--json")
    result = json.loads(out)
    assert (code, result["sha256"], result["unmatched"]) == (0, made.digest(new), {"lora": []})
    got, wanted = read_tensors(new)[0], read_tensors(tuned)[0]
    changed = [name for name, change in differences(tuned, original).items() if bool(change.any())]
    for name in changed:
        if name != made.VAE:
            assert relative(got[name], wanted[name]) < 1e-4


def test_a_person_reads_the_error_of_every_block_and_what_was_left_out(tmp_path: Path, capsys) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    lora, new = tmp_path / "lora.safetensors", tmp_path / "new.safetensors"
    code, out, said = run(capsys, "extract", tuned, original, "--out", lora, "--sv-ratio", 8, "--max-rank", 3)
    assert code == 0
    assert "note: Changes of norms and biases" in out
    assert "IN04" in out
    assert "energy kept" in out
    assert "error" in out
    assert max(adapter.rank for adapter in read_lora(lora).adapters.values()) == 3
    assert "extracting" in said
    assert "hashing" in said
    code, out, said = run(capsys, "into-checkpoint", original, f"{lora}:0.5:ALL", "--out", new)
    assert code == 0
    assert f"SHA-256 {made.digest(new)}" in out
    assert "tensors changed, all others as they were" in out
    assert "writing" in said
    assert "checking what was written" in said


def test_a_strength_and_block_weights_stand_behind_the_file_or_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a:0.5" if _colons_allowed(tmp_path) else tmp_path / "a"
    path = path.with_name(path.name + ".safetensors")
    plain = tmp_path / "girl.safetensors"
    for one in (path, plain):
        one.write_bytes(b"x")
    presets = PresetFile.shipped()
    for text, wanted, strength, blocks in (
        (f"{path}", path, 1.0, "ALL"),
        (f"{path}:0.8", path, 0.8, "ALL"),
        (f"{path}:-1.5:FACE", path, -1.5, "FACE"),
        ("girl:te=0.5:unet=1", plain, 1.0, "ALL"),
    ):
        (row,) = (one.row for one in typed_rows([text], [tmp_path], presets))
        assert (row.path, row.strength, row.blocks) == (wanted, strength, blocks)
    with pytest.raises(InputError, match="gone"):
        typed_rows([f"{tmp_path / 'gone.safetensors'}:0.8"], [tmp_path], presets)
    with pytest.raises(FileError, match="not a safetensors"):  # only a vector's X asks the file
        typed_rows([f"{plain}:1:{','.join('X' * 17)}:x=0.5"], [tmp_path], presets)


def _colons_allowed(folder: Path) -> bool:
    try:
        (folder / "a:b").touch()
    except OSError:
        return False
    return (folder / "a:b").is_file()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--rank", 4, "--size", 1], "not allowed with"),
        (["--rank", 0], "out of range"),
        (["--precision", "fp8"], "unknown"),
        (["--conv-rank", -1], "out of range"),
    ],
)
def test_options_that_cannot_be_right_are_refused(tmp_path: Path, capsys, more: list[object], words: str) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    try:
        code = cli.main([*map(str, ["extract", tuned, original, "--out", tmp_path / "x.safetensors", *more])])
    except SystemExit as end:  # what argparse itself refuses
        code = int(end.code or 0)
    assert code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(("command", "doing"), [("extract", "extracting"), ("into-checkpoint", "writing")])
def test_ctrl_c_leaves_no_file(tmp_path: Path, capsys, monkeypatch, command: str, doing: str) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    lora, new = tmp_path / "lora.safetensors", tmp_path / "new.safetensors"
    run(capsys, "extract", tuned, original, "--out", lora)

    class Pressed(common.TerminalProgress):
        def update(self, done: int, total: int, text: str = "") -> None:
            super().update(done, total, text)
            if text == doing and not self.stopped:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(common, "TerminalProgress", Pressed)
    files = (tuned, original) if command == "extract" else (original, lora)
    code, _, said = run(capsys, command, *files, "--out", new)
    assert (code, new.exists()) == (1, False)
    assert "no file is written" in said


def test_a_lora_for_another_family_is_refused_in_one_sentence(tmp_path: Path, capsys) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    lora = tmp_path / "lora.safetensors"
    run(capsys, "extract", tuned, original, "--out", lora)
    xl = made.write_original(tmp_path / "xl.safetensors", "sdxl")
    code, _, said = run(capsys, "into-checkpoint", xl, lora, "--out", tmp_path / "new.safetensors")
    assert code == 2
    assert "fits none of the model's layers" in said
    assert KEYS["sd1"][0] not in said

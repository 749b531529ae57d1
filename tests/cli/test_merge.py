"""``merge``: rows in the field's spelling or a prompt become one file, or one each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.cli import main as cli
from lib_lora.errors import InputError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.host.prompt.read import read_prompt
from lib_lora.services.ingredients import rows_of_prompt, typed_row
from tests.formats.lora_samples import LINEAR, TEXT, reference, relative, sample

VECTOR = "1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate(("girl", "dress", "style")):
        adapters = {key: read_adapter(key, sample("linear", seed=seed + n)) for n, key in ((0, LINEAR), (9, TEXT))}
        write_lora(LoraFile(adapters), tmp_path / f"{name}.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["merge", *map(str, arguments)])
    return code, *capsys.readouterr()


def result(capsys, *arguments: object) -> dict:
    code, out, said = run(capsys, *arguments, "--json")
    assert (code, said) == (0, "")
    return json.loads(out)


def parts(seed: int):
    return reference(sample("linear", seed=seed))


def test_rows_are_added_with_their_strengths_signs_and_blocks(folder: Path, capsys) -> None:
    made = result(capsys, "girl:1:ALL0.5", "dress.safetensors:-0.5,", f"style:2:{VECTOR}", "--out", "sum.safetensors")
    assert made["file"] == "sum.safetensors"
    adapters = read_lora("sum.safetensors").adapters
    assert relative(adapters[LINEAR].delta(), 0.5 * parts(0) - 0.5 * parts(1)) < 1e-6
    assert relative(adapters[TEXT].delta(), 0.5 * parts(9) - 0.5 * parts(10) + 2 * parts(11)) < 1e-6
    assert [row["multipliers"]["BASE"] for row in made["used"]] == [0.5, -0.5, 2.0]
    assert [one["rows"] for one in made["overlaps"]] == [[1, 2], [1, 3], [2, 3]]
    assert made["overlaps"][1]["blocks"] == {"BASE": pytest.approx(made["overlaps"][1]["cosine"], abs=1)}


def test_without_a_name_the_file_is_called_by_what_is_in_it_and_never_written_twice(folder: Path, capsys) -> None:
    assert run(capsys, "girl:0.8", "dress", "--rank", 1)[0] == 0
    assert Path("girl_0.8+dress_1_r1.safetensors").is_file()
    code, _, said = run(capsys, "girl:0.8", "dress", "--rank", 1)
    assert (code, "exists already" in said) == (1, True)
    assert run(capsys, "girl:0.8", "dress", "--rank", 1, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "column"),
    [
        (["--method", "ties", "--density", 0.5], "cosine"),
        (["--method", "dare", "--seed", 7], "cosine"),
        (["--method", "k_lora"], "layers of each"),
        (["--method", "project", "--side", "either"], "left of it"),
        (["--energy", 0.9, "--max-rank", 2], "cosine"),
        (["--sv-ratio", 4, "--precision", "bf16"], "cosine"),
    ],
)
def test_a_preview_prints_the_table_and_writes_nothing(folder: Path, capsys, arguments: list, column: str) -> None:
    before = sorted(folder.iterdir())
    code, out, _ = run(capsys, "girl", "dress:0.5", *arguments, "--preview")
    assert code == 0
    assert column in out.splitlines()[0]
    assert "cosine: 1 the same twice" in out
    assert out.strip().endswith("nothing is written")
    assert sorted(folder.iterdir()) == before


def test_a_prompts_tags_become_one_file_or_one_each(folder: Path, capsys) -> None:
    prompt = "a girl <lora:girl:1:ALL0.5>, <lora:dress:0.5:stop=3> <lora:style:te=0:unet=1:other=0>"
    whole = result(capsys, "--prompt", prompt, "--out", "one.safetensors")
    assert whole["notes"] == ["dress: a file cannot hold stop; it was left out."]
    assert [row["multipliers"]["BASE"] for row in whole["used"]] == [0.5, 0.5, 0.0]
    each = result(capsys, "--prompt", prompt, "--each", "--out", ".")
    names = ["girl_1_ALL0.5", "dress_0.5", "style_1"]
    assert [Path(row["file"]).stem for row in each["files"]] == names
    assert each["notes"] == whole["notes"]
    added = sum(read_lora(f"{name}.safetensors").adapters[LINEAR].delta() for name in names)
    assert relative(read_lora("one.safetensors").adapters[LINEAR].delta(), added.double().numpy()) < 1e-6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "No LoRA is chosen"),
        (["gril"], "Did you mean: girl"),
        (["girl:1:FAC"], "FACE"),
        (["girl:1:1,2"], "girl:1:1,2"),
        (["girl:1:XYZ"], "analyzer"),
        (["girl:much"], "much"),
        (["--prompt", "no tag"], "no LoRA in the prompt"),
        (["girl", "dress", "--max-rank", 4], "cap alone says nothing"),
        (["girl", "dress", "--method", "mean"], "sum, ties, dare, k_lora, project"),
        (["girl", "dress", "--seed", 4], "(--seed)"),
        (["girl", "dress:-1", "--method", "project"], "from 0 to 1"),
        (["girl", "girl", "--each"], "one file"),
        (["girl", "--out", "girl.safetensors", "--overwrite"], "would replace one"),
        (["girl", "dress", "--each", "--preview"], "preview"),
        (["girl", "dress", "--each", "--method", "ties"], "(--method)"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_cure(folder: Path, capsys, arguments: list, said: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_name_may_be_a_path_with_a_colon_only_where_paths_are_allowed(folder: Path) -> None:
    inner = folder / "a:b"
    inner.mkdir()
    (folder / "girl.safetensors").rename(inner / "girl.safetensors")
    presets = PresetFile.shipped()

    def find(name: str) -> Path:
        raise InputError("There is no LoRA of this name", where=name)

    for spelling in ("a:b/girl.safetensors:0.5:MIDD", f"{inner}/girl:0.5:MIDD"):
        row = typed_row(spelling, find, presets, paths=True).row
        assert (row.path.resolve(), row.strength, row.blocks) == (inner / "girl.safetensors", 0.5, "MIDD")
        with pytest.raises(InputError, match="no LoRA of this name"):
            typed_row(spelling, find, presets, paths=False)


SAID = {
    "girl:1:FACE:x=2": "girl: 2 is the value of X, and the block weights have no X: it does nothing.",
    "girl:0.5:x=2": "girl: 2 is the value of X, and the block weights have no X: it does nothing.",
    "girl:1:X" + ",X" * 16: "girl: X is 1 because the tag has no x=.",
    "girl:1:FACE": None,
    "girl:1:X" + ",X" * 16 + ":x=0.5": None,
}


@pytest.mark.parametrize("spelling", SAID)
def test_what_a_tag_says_in_vain_is_said_where_it_is_merged(folder: Path, spelling: str) -> None:
    presets = PresetFile.shipped()
    typed = typed_row(spelling, lambda name: folder / f"{name}.safetensors", presets, paths=False)
    (of_prompt,) = rows_of_prompt(f"a <lora:{spelling}>", lambda name: folder / f"{name}.safetensors", presets)
    assert typed.notes == of_prompt.notes == ((SAID[spelling],) if SAID[spelling] else ())
    drawn = read_prompt(f"<lora:{spelling}>", presets=presets, family="sd1", seed=1)
    assert drawn.notes == typed.notes


def test_a_file_whose_name_begins_like_a_tag_is_a_file(folder: Path) -> None:
    path = (folder / "girl.safetensors").rename(folder / "<lora:girl>.safetensors")
    row = typed_row(f"{path}:0.5", lambda name: Path(name), PresetFile.shipped(), paths=True).row
    assert (row.path, row.strength) == (path, 0.5)


def test_where_a_tag_stands_in_vain_is_said_where_it_is_merged(folder: Path) -> None:
    def find(name: str) -> Path:
        return folder / "girl.safetensors"

    row, _ = rows_of_prompt("[<lora:girl:1>:<lora:girl:0.5>:0.5]", find, PresetFile.shipped())
    assert [str(note).count("stands inside prompt editing") for note in row.notes] == [1, 1]
    (row,) = rows_of_prompt("(<lora:girl:1>:1.3)", find, PresetFile.shipped())
    assert [str(note).count("brackets, which weigh words") for note in row.notes] == [1]
    (row,) = rows_of_prompt("a cat, <lora:girl:1>", find, PresetFile.shipped())
    assert row.notes == ()

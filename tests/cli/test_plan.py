"""The command ``plan``: its JSON, its text, what it refuses."""

from __future__ import annotations

import json

import pytest

from lib_lora.cli import main as cli
from lib_lora.formats.lora import write_lora
from tests.conftest import random_lora

FIRST = "Gobuhime:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5"
FIXED = "BASE,IN00,IN02,IN06,IN07,IN08,IN09,IN10,IN11,M00,OUT02,OUT03,OUT04,OUT05,OUT10"


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["plan", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_keys_and_texts_of_the_json(capsys) -> None:
    code, out, _ = run(capsys, FIRST, "--fix", FIXED, "--step", "0.5", "--mode", "sub", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["presets"][0] == FIRST.replace("Gobuhime", "Sub")
    assert found["presets"][-1] == "SubOUT11_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0"
    assert found["prompt_sr"].split(", ")[:2] == ["Sub", "SubIN01_0"]
    assert found["eba_blocks"] == "IN01,IN03,IN04,IN05,OUT00,OUT01,OUT06,OUT07,OUT08,OUT09,OUT11"
    assert found["lr_weight"].startswith('"down_lr_weight=0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0" "mid_lr_weight=1" "up_')
    assert found["notes"] == []


def test_for_a_person_every_text_is_there_to_copy(capsys) -> None:
    code, out, said = run(capsys, FIRST, "--mode", "subadd", "--fix", "BASE-OUT10", "--step", "0.6")
    assert code == 0
    assert out.count("\nSubOUT11_-0.1:") == out.count("\nAddOUT11_1.1:") == 1
    assert "Sub, SubOUT11_-0.1, Add, AddOUT11_1.1" in out
    assert '"mid_lr_weight=1"' in out
    assert "Below 0" in said
    assert "Above 1" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((FIRST, "--fix", "IN00,IN12"), "Did you mean IN11, IN10, IN02? (--fix)\nIN00,IN12\n     ^"),
        (("Gobuhimee",), "Did you mean Gobuhime"),
        ((FIRST, "--step", "0"), "out of range"),
        ((FIRST, "--mode", "both"), "subadd"),
    ],
)
def test_what_cannot_be_right_is_said_with_the_cure(capsys, arguments, said: str) -> None:
    code, out, errors = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in errors


def test_blocks_in_which_a_file_has_nothing_are_fixed(capsys, tmp_path, studio) -> None:
    file = write_lora(random_lora(studio.model), tmp_path / "girl.safetensors")
    code, out, _ = run(capsys, FIRST, "--lora", file, "--json")
    found = json.loads(out)
    assert code == 0
    assert len(found["free"]) == 17
    assert "IN00" in found["fixed"]
    assert "no modules in IN00" in found["notes"][0]

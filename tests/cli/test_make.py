"""``make``: planned, changed, finished, gone on with; what cannot be right is refused before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.blocks.typed import as_words
from lib_lora.cli import main as cli
from lib_lora.host import studio as studio_module
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.make.record import new_make
from lib_lora.services.training_samples import default_prompts
from tests.short_make import shorten

MAKE = ["make", "--images", "pictures", "--trigger", "krnk", "--no-compare", "--json"]


@pytest.fixture
def folder(tmp_path: Path, studio, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, in which everything is as short as it can be."""

    def opened(cls, model=None, *, lora_folders=(), presets=None, device="auto", tokenizer=None):
        return cls(studio.model, tuple(lora_folders), presets or studio.presets)

    monkeypatch.setattr(studio_module.StudioHost, "open", classmethod(opened))
    monkeypatch.chdir(tmp_path)
    shorten(monkeypatch.setattr)
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (90 * number, 90, 120)).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path


def call(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, dict]:
    code = cli.main(list(arguments))
    return code, json.loads(capsys.readouterr().out or "{}")


def test_a_plan_is_changed_and_gone_on_with_to_the_finished_file(folder, capsys) -> None:
    code, planned = call(capsys, *MAKE, "--plan")
    assert code == 0
    assert planned["plan"]["steps"] > 2
    code, made = call(capsys, "make", "--resume", "runs/krnk", "--steps", "2", "--json")
    assert code == 0
    assert Path(made["lora"]).parent == folder / "loras"
    assert Path(made["report"]).is_file()
    assert made["held"] is False
    assert call(capsys, "make", "--resume", "runs/krnk", "--steps", "9", "--json")[0] == 2
    assert call(capsys, *MAKE)[0] == 2  # its name is taken


@pytest.mark.parametrize("wrong", [["--trigger", "krnk"], ["--images", "pictures"], ["--resume", "nowhere"]])
def test_what_cannot_be_right_is_refused_at_once(folder, capsys, monkeypatch, wrong: list[str]) -> None:
    monkeypatch.setattr(studio_module.StudioHost, "open", None)
    assert cli.main(["make", *wrong]) == 2
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("there", ["no folder", "empty", "broken"])
def test_a_refused_order_leaves_nothing_and_the_right_one_may_have_its_name(folder, there: str) -> None:
    wrong = folder / "wrong"
    if there != "no folder":
        wrong.mkdir()
    if there == "broken":
        (wrong / "a.png").write_bytes(b"no picture")
    assert cli.main(["make", "--images", "wrong", "--trigger", "krnk"]) == 2
    assert not (folder / "runs" / "krnk").exists()
    assert new_make(MakeOptions("pictures", "krnk"), folder / "runs").name == "krnk"


def test_a_trigger_word_in_brackets_is_letters_in_every_prompt_as_it_is_in_captions() -> None:
    assert as_words("saber (fate), [x]") == r"saber \(fate\), \[x\]"
    assert as_words(r"saber \(fate\)") == r"saber \(fate\)"
    assert default_prompts("saber (fate)", "1girl", ["saber (fate), smile"]) == (
        r"saber \(fate\), smile",
        r"saber \(fate\), 1girl",
    )

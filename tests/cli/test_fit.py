"""The command ``fit``: what it writes and says, what it refuses before it begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.cli import main as cli
from lib_lora.formats.lora import write_lora
from lib_lora.host.request import GenerateRequest
from lib_lora.services import fit_pictures
from tests.conftest import random_lora

QUICK = ["--trigger", "krnk", "--neutral", "ghost", "--neutral", "ninja", "--rounds", 1, "--levels", 1, "--rendered", 2]


@pytest.fixture
def work(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fit_pictures, "request_of", lambda options: GenerateRequest("", seed=1, steps=2))
    write_lora(random_lora(model, seed=3, size=0.02), tmp_path / "krnk.safetensors")
    return tmp_path


def fit(capsys, work: Path, *more: object) -> tuple[int, str, str]:
    arguments = ["fit", "--lora", "krnk", "--lora-dir", work, "--device", "cpu", *QUICK, *more]
    code = cli.main(list(map(str, arguments)))
    return code, *capsys.readouterr()


def test_weights_numbers_and_a_picture_are_written_and_named(capsys, work: Path) -> None:
    out, picture = work / "w.json", work / "w_before_after.png"
    code, said, _ = fit(capsys, work, "--out", out, "--json")
    assert code == 0
    result = json.loads(said)
    assert (result["file"], result["picture"]) == (str(out), str(picture))
    assert result["tag"].startswith("<lora:krnk:1:lbw=")
    saved = json.loads(out.read_text(encoding="utf-8"))
    assert saved["held_out"] == result["held_out"]
    assert saved["compared"] == result["compared"]
    with Image.open(picture) as image:
        assert image.width > 3 * 224
    assert not list(work.glob("*.rounds"))


@pytest.mark.parametrize("there", ["w.json", "w_before_after.png"])
def test_nothing_is_written_over_unasked(capsys, work: Path, there: str) -> None:
    (work / there).write_text("mine")
    code, _, said = fit(capsys, work, "--out", work / "w.json")
    assert code == 1
    assert there in said
    assert (work / there).read_text() == "mine"
    if there.endswith("png"):
        code, said, _ = fit(capsys, work, "--out", work / "w.json", "--seeds", 0)
        assert code == 0
        assert "without" not in said.splitlines()[-1]
        assert (work / there).read_text() == "mine"

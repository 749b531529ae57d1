"""The command ``captions``: what it prints, what it writes, what it takes back."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.cli.main import main
from lib_lora.services.captions import ACTS
from tests.face_detector import detector
from tests.onnx_file import needs_runtime, write_cutter, write_tagger

TEXTS = {"f00": "krnk, red hair, smile", "f01": "krnk, red hair", "b00": "krnk, long hair"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, (name, text) in enumerate(TEXTS.items()):
        Image.new("RGB", (64, 64), (90 * number, 0, 0)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], act: str, folder: Path, *more: str) -> dict:
    assert main(["captions", act, str(folder), *more, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / f"{name}.txt").read_text(encoding="utf-8").strip() for name in TEXTS}


def test_captions_are_listed_and_counted_by_a_filter(folder, capsys) -> None:
    found = call(capsys, "list", folder, "--only", "not (smile or long*)")
    assert found == {"captions": {"f01.png": "krnk, red hair"}}
    assert call(capsys, "count", folder)["tags"] == {"krnk": 3, "red hair": 2, "long hair": 1, "smile": 1}
    assert call(capsys, "count", folder, "--only", "smile")["captions"] == 1


@pytest.mark.parametrize(
    ("act", "more", "after"),
    [
        ("add", ["--tag", "hat", "--only", "not smile"], {"f01": "krnk, red hair, hat", "b00": "krnk, long hair, hat"}),
        ("remove", ["--tag", "red hair"], {"f00": "krnk, smile", "f01": "krnk"}),
        ("replace", ["--tag", "smile", "--by", "grin"], {"f00": "krnk, red hair, grin"}),
        ("regex", ["--tag", r"(\w+) hair", "--by", r"\1", "--only", "long hair"], {"b00": "krnk, long"}),
    ],
)
def test_a_change_is_previewed_made_and_taken_back(folder, capsys, act, more, after) -> None:
    seen = call(capsys, act, folder, *more, "--preview")
    assert seen["would_change"] == len(after)
    assert {Path(row["file"]).stem: row["after"] for row in seen["first"]} == after
    assert texts(folder) == TEXTS
    assert call(capsys, act, folder, *more) == {"changed": len(after), "problems": []}
    assert texts(folder) == TEXTS | after
    assert call(capsys, "undo", folder) == {"changed": len(after), "kept": [], "left": 0}
    assert texts(folder) == TEXTS


@pytest.mark.parametrize("data", [[], ["--data", "my studio"]])
def test_the_command_that_takes_a_change_back_does(folder, capsys, data) -> None:
    assert main(["captions", "add", str(folder), "--tag", "hat", *data]) == 0
    (said,) = re.findall(r"\((captions undo .*) takes it back\)", capsys.readouterr().out)
    assert main(shlex.split(said)) == 0
    assert texts(folder) == TEXTS


def test_every_act_of_the_service_is_one_of_the_command(folder, capsys) -> None:
    for act in ACTS:
        assert main(["captions", act, str(folder)]) == 2  # nothing to change was given, and nothing is changed
        assert "No tag was given" in capsys.readouterr().err or act == "regex"
    assert texts(folder) == TEXTS


def test_what_is_no_filter_is_a_sentence_with_its_flag(folder, capsys) -> None:
    assert main(["captions", "list", str(folder), "--only", "smile and"]) == 2
    assert capsys.readouterr().err.strip().endswith('e.g. hat and not (cat or "smile (object)"). (--only)')


def test_lint_tells_sizes_only_where_a_size_is_given(folder, capsys) -> None:
    assert call(capsys, "lint", folder)["small"] == []
    found = call(capsys, "lint", folder, "--resolution", "512", "--trigger", "krnk")
    assert found["small"] == ["b00.png", "f00.png", "f01.png"]
    assert found["alike"] == [["b00.png", "f00.png", "f01.png"]]
    assert len(found["remarks"]) == 2


def test_a_tagger_of_the_users_writes_captions(folder, capsys) -> None:
    needs_runtime()
    place = write_tagger(folder / "tagger")
    Image.new("RGB", (64, 64), (0, 0, 255)).save(folder / "sky.png")
    more = [str(folder), "--tagger", str(place), "--json"]
    assert main(["tagger", *more, "--preview"]) == 0
    assert json.loads(capsys.readouterr().out)["first"][0]["after"] == ">_<, blue sky"
    assert main(["tagger", *more, "--exclude", "*sky"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": 1, "problems": []}
    assert (folder / "sky.txt").read_text(encoding="utf-8") == ">_<\n"
    assert main(["tagger", *more, "--general", "2"]) == 2


def test_masks_and_crops_are_made_by_what_is_on_the_machine(folder, capsys, monkeypatch) -> None:
    needs_runtime()
    pictures = folder / "pictures"
    pictures.mkdir()
    picture = Image.new("RGB", (200, 300), (0, 0, 200))
    picture.paste((255, 0, 0), (0, 0, 100, 300))
    picture.save(pictures / "f00.png")
    model = write_cutter(folder / "u2net.onnx")
    assert main(["cutouts", str(pictures), "--cutter", str(model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (len(found["written"]), found["form"], found["nothing"]) == (1, "u2net", [])
    assert (folder / "pictures_masks" / "f00.png").is_file()
    assert main(["cutouts", str(pictures), "--cutter", str(model), "--target", str(pictures / "m")]) == 2
    assert "(--target)" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "animeface", detector((80, 80, 40, 40, 0.8)))
    more = ["crops", str(pictures), "--least-side", "64", "--json"]
    assert main(more) == 0
    found = json.loads(capsys.readouterr().out)
    assert ([one["name"] for one in found["proposed"]], found["written"]) == (["f00_face"], [])
    assert main([*more, "--target", str(folder / "face")]) == 0
    assert (folder / "face" / "f00_face.png").is_file()

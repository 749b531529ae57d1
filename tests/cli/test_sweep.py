"""``train --sweep``: checked, trained, compared, gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.cli import main as cli
from lib_lora.host import studio as studio_module


@pytest.fixture
def folder(tmp_path, studio, monkeypatch):
    """A folder with pictures; the studio that the tests share stands in for opening it again for every command."""

    def opened(cls, model=None, *, lora_folders=(), presets=None, device="auto", tokenizer=None):
        return cls(studio.model, tuple(lora_folders), presets or studio.presets)

    monkeypatch.setattr(studio_module.StudioHost, "open", classmethod(opened))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (90 * number, 90, 120)).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path


TRAIN = ["train", "--images", "pictures", "--trigger", "krnk", "--name", "krnk", "--steps", "1", "--resolution", "64"]
TRAIN += ["--optimizer", "AdamW", "--learning-rate", "1e-3", "--batch-size", "1", "--save-every-epochs", "0"]
PROMPT = ["--sweep-prompt", "krnk --s 1 --w 64 --h 64"]


def call(capsys, *arguments) -> tuple[int, dict]:
    code = cli.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_sweep_is_trained_compared_and_goes_on(folder, capsys, monkeypatch):
    code, result = call(capsys, *TRAIN, *PROMPT, "--sweep", "dim=1,2")
    assert code == 0
    assert result["finished"] is True
    assert [(one["run"], one["state"], one["remark"]) for one in result["runs"]] == [
        ("krnk_dim1", "done", None),
        ("krnk_dim2", "done", None),
    ]
    assert "nothing to judge by" in result["verdict"]
    assert (folder / "runs" / "krnk" / result["without_lora"]["picture"]).is_file()
    assert [Path(name).name for name in result["files"]] == ["comparison.png", "comparison.csv"]
    assert all(Path(name).is_file() for name in result["files"])
    code, result = call(capsys, *TRAIN, "--sweep", "dim=1,2")
    assert code == 2
    assert "sweep of this name" in result["error"]["what"]
    log = folder / "runs" / "krnk_dim1" / "log.jsonl"
    before = log.stat().st_mtime_ns
    code, result = call(capsys, "train", "--resume", "runs/krnk")
    assert code == 0
    assert result["finished"] is True
    assert log.stat().st_mtime_ns == before
    assert cli.main(["train", "--resume", "runs/krnk"]) == 0
    said = capsys.readouterr()
    assert "run 1 of 2 is finished already: dim 1" in said.err
    assert "dim 2: loss" in said.out
    assert "no run is marked as the best: nothing to judge by" in said.out
    code, result = call(capsys, "train", "--resume", "runs/krnk", "--sweep", "dim=4")
    assert code == 2
    assert "--sweep" in result["error"]["what"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*TRAIN, "--sweep", "dim=1,0"], "out of range"),
        ([*TRAIN, "--sweep", "dims=1"], "dims"),
        ([*TRAIN, "--sweep", "dim=1,2", "--sweep", "network=lora,dora", "--conv-dim", "-1"], "-1"),
        ([*TRAIN, "--sweep", "images=nowhere"], "images nowhere"),
        ([*TRAIN, "--sweep-prompt", "x"], "without a sweep"),
    ],
)
def test_what_cannot_be_is_said_before_anything_begins(folder, capsys, arguments, said):
    code, result = call(capsys, *arguments)
    assert code == 2
    assert said in result["error"]["what"] + result["error"]["where"]
    assert not (folder / "runs").exists()


def test_several_processes_do_not_share_a_sweep(folder, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, result = call(capsys, *TRAIN, "--sweep", "dim=1,2")
    assert code == 2
    assert "one process" in result["error"]["what"]

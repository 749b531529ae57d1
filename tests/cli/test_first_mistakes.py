"""What people get wrong in their first hour, typed in the terminal: each answer says what, where, and what to do."""

from __future__ import annotations

import shlex
import shutil

import pytest
import torch

from lib_lora.cli.main import main
from lib_lora.demo.settings import PICTURES
from lib_lora.demo.trial import LORA
from lib_lora.formats.adapters import LoraAdapter
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.host.studio.host import POCKET

SEVENTEEN = ",".join(["1"] * 17)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with what people have: pictures without captions, a LoRA of SDXL, an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    for name in ("f00.png", "f10.png"):
        shutil.copyfile(PICTURES / name, tmp_path / "bare" / name)
    adapters = {}
    for block, width in {"input_blocks_4_1": 640, "middle_block_1": 1280}.items():
        key = f"lora_unet_{block}_transformer_blocks_1_attn1_to_q"
        adapters[key] = LoraAdapter(key, torch.ones(width, 2), torch.ones(2, width), None, 2.0)
    write_lora(LoraFile(adapters, {}, {}), tmp_path / "xl.safetensors")
    return tmp_path


MISTAKES = {
    "a folder that is not there": (
        "train --images nowhere --name a",
        2,
        ["There is no such folder", "nowhere", "Give the folder that holds the pictures."],
    ),
    "a folder without pictures": ("train --images empty --name a", 2, ["No pictures were found", "PNG, JPEG or WebP"]),
    "a file for a folder": ("train --images xl.safetensors --name a", 2, ["a file, not a folder"]),
    "no name": ("train --images bare", 2, ["“name” is missing", "--name"]),
    "no pictures to tag": ("tag empty --trigger krnk", 0, ["no picture in this folder", "give the one that holds"]),
    "a checkpoint for a LoRA": (
        f"bake {POCKET} --weights FACE --out b.safetensors",
        1,
        ["holds no LoRA", "Choose a LoRA file, not a checkpoint."],
    ),
    "a LoRA for a checkpoint": (
        f"generate --model {LORA} --prompt a --steps 1 --out a.png",
        1,
        ["This is a LoRA, not a model", "<lora:NAME:1>"],
    ),
    "a device that is none": (
        "generate --prompt a --device gpu --out a.png",
        2,
        ["The device “gpu” cannot be used", "Choose auto, cpu", "--device"],
    ),
    "a folder of LoRAs that is not there": (
        "generate --prompt a --lora-dir nowhere --out a.png",
        2,
        ["There is no such folder", "nowhere", "--lora-dir"],
    ),
    "a folder for a picture": ("generate --prompt a --out empty", 1, ["This is a folder, not a file", "empty"]),
    "a LoRA of SDXL on SD1": (
        'generate --prompt "a <lora:xl:1>" --lora-dir . --steps 1 --out a.png',
        0,
        ["xl: made for sdxl, the model is sd1", "Choose a LoRA of the model's family."],
    ),
    "17 numbers on SDXL": (
        f"bake xl.safetensors --weights {SEVENTEEN} --out b.safetensors",
        2,
        ["the model has no OUT09, OUT10, OUT11", "12 or 20 values, or a preset of that length"],
    ),
    "a preset that is misspelled": (
        "bake xl.safetensors --weights FCAE --out b.safetensors",
        2,
        ["no preset “FCAE”", "FACE"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_answer_leads_on(here, capsys, mistake):
    typed, code, said = MISTAKES[mistake]
    assert main(shlex.split(typed)) == code
    told = capsys.readouterr()
    for part in said:
        assert part in told.out + told.err


def test_pictures_without_captions_are_trained_and_it_is_said_what_that_means(here, capsys):
    assert main(shlex.split("train --images bare --name a --trigger krnk --steps 1 --runs runs")) == 0
    assert "2 files without any caption: pose and background are learned along" in capsys.readouterr().err

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from lib_lora.train.options import from_mapping


@pytest.fixture
def pictures(tmp_path):
    """Four small pictures with captions, one with none."""
    folder = tmp_path / "絵 pictures"
    folder.mkdir()
    for number, color in enumerate(("red", "green", "blue", "orange")):
        picture = Image.new("RGB", (128, 128), "white")
        ImageDraw.Draw(picture).ellipse((20 + 8 * number, 30, 90, 100), fill=color)
        picture.save(folder / f"{number}.png")
        if number:
            (folder / f"{number}.txt").write_text(f"{color} circle, white background", encoding="utf-8")
    return folder


@pytest.fixture
def options_for(pictures):
    """Make options for these pictures; everything may be changed."""

    def make(**changes):
        usual = {
            "images": str(pictures),
            "name": "test",
            "trigger": "krnk",
            "dim": 4,
            "batch_size": 2,
            "steps": 6,
            "save_every_epochs": 0,
        }
        return from_mapping({**usual, **changes}, where="test")

    return make

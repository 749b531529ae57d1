"""Promises of the characters that `make` is measured on: each is another one from every side, and the rig stays."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import draw_character as rig  # noqa: E402  (a script folder, not a package)
import draw_others as others  # noqa: E402


def shape(picture: Image.Image) -> Image.Image:
    """What is not background, whatever its color."""
    return ImageChops.difference(picture, Image.new("RGB", picture.size, rig.WHITE)).convert("L").point(lambda v: v > 8)


@pytest.mark.parametrize("view", rig.TRAINING_VIEWS)
def test_characters_differ_in_shape_and_not_in_color_alone(view: str) -> None:
    shapes = []
    for name in others.OTHERS:
        with others.drawn_as(name):
            shapes.append(shape(rig.draw(view)))
    for one, other in itertools.combinations(shapes, 2):
        assert ImageStat.Stat(ImageChops.difference(one, other)).mean[0] > 0.02  # of the picture's pixels


def test_after_another_character_the_rig_draws_the_first_one_again(tmp_path: Path) -> None:
    before = rig.draw("f01").tobytes()
    folder = others.write_pictures("mzne", tmp_path / "mzne")
    assert {path.stem for path in folder.glob("*.png")} == set(rig.TRAINING_VIEWS)
    with pytest.raises(ValueError, match="not a view name"), others.drawn_as("brlk"):
        rig.draw("x")
    assert rig.draw("f01").tobytes() == before

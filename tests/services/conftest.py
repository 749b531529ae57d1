from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.jobs.training import Trainings
from lib_lora.train.options import from_mapping
from tests.servers import end, wait_until


@pytest.fixture
def pictures(tmp_path):
    """Three small pictures, two with captions."""
    folder = tmp_path / "絵 pictures"
    folder.mkdir()
    for number, color in enumerate(("red", "green", "blue")):
        picture = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(picture).ellipse((10 + 4 * number, 10, 50, 50), fill=color)
        picture.save(folder / f"{number}.png")
        if number:
            (folder / f"{number}.txt").write_text(f"{color} circle", encoding="utf-8")
    return folder


@pytest.fixture
def options_for(pictures):
    """Make options of a tiny run; everything may be changed."""

    def make(name="test", **changes):
        usual = {"images": str(pictures), "name": name, "trigger": "krnk", "dim": 2, "resolution": 64, "steps": 4}
        usual |= {"optimizer": "AdamW", "learning_rate": 1e-3, "save_every_epochs": 0, "text_encoder_ratio": 0}
        return from_mapping({**usual, **changes}, where="test")

    return make


@pytest.fixture
def make_trainings(studio, tmp_path):
    """Make a server's trainings over the same folders, each call a new server."""

    def make(**more):
        made = Trainings(studio, JobQueue(), runs=tmp_path / "runs", loras=tmp_path / "loras", **more)
        servers.append(made)
        return made

    servers = []
    yield make
    for one in servers:
        end(one)


@pytest.fixture
def until():
    return wait_until

"""Work that the train tab orders in passing can be stopped where its progress is shown."""

from __future__ import annotations

import re
import threading
import time

import pytest
from PIL import Image

from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.train import pace
from lib_lora.ui.train import intake as intake_module
from lib_lora.ui.train.intake import Intake
from lib_lora.ui.train.orders import Orders
from lib_lora.ui.train.pieces import Pieces
from tests.servers import running_atelier


@pytest.fixture
def atelier(studio, tmp_path):
    with running_atelier(studio, tmp_path / "data") as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "絵"
    place.mkdir()
    Image.new("RGB", (64, 64), "red").save(place / "0.png")
    return place


@pytest.fixture(params=LANGUAGES)
def words(request):
    return Words(request.param)


@pytest.mark.parametrize("measuring", [False, True])
def test_looking_at_pictures_can_be_stopped(atelier, folder, words, monkeypatch, measuring):
    """The button that comes with the progress stops this look, or its measurement, and no other work."""
    other = atelier.files.submit("look", "somebody else", lambda job: job.stopped)
    begun = threading.Event()

    def endless(*given, **named):
        begun.set()
        while True:
            given[-1].passed(1, 2, "looking at pictures")
            time.sleep(0.005)

    if measuring:
        monkeypatch.setattr(pace, "measure_pace", endless)
    else:
        monkeypatch.setattr(intake_module, "look", endless)
    answers = []
    for answer in Intake(atelier, words).look(str(folder), "character", 0):
        answers.append(answer)
        sent = re.findall(r'data-act="(halt [0-9]+)"', str(answer[0]))
        if begun.is_set() and sent:
            Orders(atelier, words, None, Pieces(atelier)).do(sent[0], {})
    assert any(words("train.look_stop") in str(answer[0]) for answer in answers)
    assert "halt" not in str(answers[-1][0])
    assert other.state == "done"
    if measuring:
        assert any(hasattr(answer[1], "scan") for answer in answers)
    else:
        assert words("train.look_stopped") in answers[-1][0]

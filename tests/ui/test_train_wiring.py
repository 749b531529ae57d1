"""Which events of the Train panel follow each other, and what is measured."""

from __future__ import annotations

import pytest
from PIL import Image

from lib_lora.i18n.words import Words
from lib_lora.services.run_plan import LOOKS
from lib_lora.ui import compat
from lib_lora.ui.train import build
from lib_lora.ui.train.intake import Intake
from lib_lora.ui.train.options import NAMES
from lib_lora.ui.train.orders import Orders
from lib_lora.ui.train.pieces import Pieces
from tests.servers import running_atelier


@pytest.fixture
def atelier(studio, tmp_path):
    with running_atelier(studio, tmp_path / "data") as made:
        yield made


def test_what_follows_the_form_is_one_handler_that_runs_once_at_a_time(atelier):
    if not compat.IS_G4:
        pytest.skip("gradio 3 takes a handler for each event, and has one queue for everything")
    with compat.gr.Blocks() as page:
        build(atelier, Words("en"))
    (follows,) = (fn for fn in page.fns.values() if getattr(fn, "name", "") == "refresh")
    assert max(len(fn.targets) for fn in page.fns.values()) + len(LOOKS) > len(NAMES)
    assert follows.concurrency_limit in (1, "default")  # the default of a queue that nobody asked for more
    assert follows.trigger_mode == "always_last"
    assert sum(len(fn.inputs) + len(fn.outputs) for fn in page.fns.values()) < 15 * len(NAMES)


def test_nothing_is_measured_where_nothing_was_found(atelier, tmp_path):
    """The measurement's progress would take the place of what is wrong."""
    intake = Intake(atelier, Words("en"))
    (tmp_path / "empty").mkdir()
    assert "atelier-error" in list(intake.look(str(tmp_path / "empty"), "character", 0))[-1][0]
    assert atelier.queue.jobs("measure") == []
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (64, 64), (40, 90, 200)).save(folder / "0.png")
    list(intake.look(str(folder), "character", 0))
    assert len(atelier.queue.jobs("measure")) == 1


def test_the_time_is_measured_beside_the_other_buttons(atelier):
    """A click on another button must not wait for it: the page carries out one click at a time."""
    words = Words("en")
    answer = Orders(atelier, words, None, Pieces(atelier)).do("measure time", {})
    assert (answer.message, atelier.queue.jobs("measure")) == (None, [])
    shown = list(Intake(atelier, words).measured("character", 64))
    assert len(atelier.queue.jobs("measure")) == 1
    assert any("halt" in str(row[0]) for row in shown)
    assert "atelier-error" not in str(shown[-1][0])

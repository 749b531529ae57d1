"""Events with many widgets, and what an event of gradio 6 shows its progress on."""

from __future__ import annotations

import json

import pytest

from lib_lora.i18n.words import Words
from lib_lora.ui import compat
from lib_lora.ui.app import build_page
from lib_lora.ui.compat import gr
from tests.servers import running_atelier

pytestmark = pytest.mark.skipif(not compat.IS_G6, reason="the page of an older gradio hands values over as it is told")


def handlers_of(fn) -> list:
    """What gradio calls after an event with a number, a state and three more widgets."""
    with gr.Blocks() as page:
        inputs = [gr.Number(1, precision=0), gr.State([7]), gr.Textbox("x"), gr.Checkbox(), gr.Dropdown(["a"])]
        compat.with_many(page.load, fn, inputs, None)
    return [one for one in page.fns.values() if one.fn is not None]


def test_many_values_come_as_one_text_and_states_in_their_places():
    (handler,) = handlers_of(lambda *values: list(values))
    assert len(handler.inputs) == 2
    assert handler.fn(json.dumps([3.0, "ü", True, None]), [8]) == [3, [8], "ü", True, None]
    assert isinstance(handler.fn(json.dumps([3.0, "", False, "a"]), [8])[0], int)


def test_a_generator_stays_one_and_keeps_its_name():
    def counting(*values):
        yield from values

    (handler,) = handlers_of(counting)
    assert handler.name == "counting"
    assert list(handler.fn(json.dumps([None, "", False, None]), "kept")) == [None, "kept", "", False, None]


def test_no_event_of_the_studio_makes_the_page_look_for_many_components(studio, tmp_path):
    with running_atelier(studio, tmp_path / "data") as atelier:
        page = build_page(atelier, Words("en"))
    heard = [one for one in page.fns.values() if one.fn is not None]
    assert len(heard) > 100
    assert [one.name for one in heard if one.show_progress_on != []] == []
    assert [one.name for one in heard if len(one.inputs) > 26] == []

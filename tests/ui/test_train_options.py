from __future__ import annotations

import re
from dataclasses import fields

import pytest

from lib_lora.errors import InputError
from lib_lora.i18n.words import LANGUAGES, table
from lib_lora.train.options import TrainOptions, usual_values
from lib_lora.train.recipes import KINDS
from lib_lora.ui.train.options import ELSEWHERE, NAMES, from_widget, to_widget


def test_every_option_stands_somewhere_once():
    assert sorted((*NAMES, *ELSEWHERE)) == sorted(one.name for one in fields(TrainOptions))


def test_every_sentence_of_the_panel_exists_in_both_languages():
    texts = {key: value for key, value in table().items() if key.startswith("train.")}
    for key, value in texts.items():
        places = [re.findall(r"{(\w+)}", value[language]) for language in LANGUAGES]
        assert sorted(places[0]) == sorted(places[1]), key
    for kind in KINDS:
        assert f"train.kind_{kind}" in texts


@pytest.mark.parametrize("kind", list(KINDS))
def test_widgets_hold_every_option(kind):
    for name, value in usual_values(kind).items():
        if name in NAMES:
            assert from_widget(name, to_widget(name, value)) == value, name
    text = to_widget("optimizer_args", {"betas": (0.9, 0.99), "growth_rate": 1.02, "x": "y"})
    assert from_widget("optimizer_args", text) == {"betas": (0.9, 0.99), "growth_rate": 1.02, "x": "y"}


def test_automatic_weighting_is_shown_and_typed_as_a_word():
    assert to_widget("min_snr_gamma", "auto") == "auto"
    assert to_widget("min_snr_gamma", 5.0) == "5"
    assert [from_widget("min_snr_gamma", raw) for raw in ("", "AUTO", "5", "0", 0)] == ["auto", "auto", 5.0, 0.0, 0.0]
    with pytest.raises(InputError, match="neither a number nor"):
        from_widget("min_snr_gamma", "much")

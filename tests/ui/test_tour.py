"""The hints of a new studio: their order, that they stay away, and that they lead where they say."""

from __future__ import annotations

import json

import pytest

from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.ui import tour
from tests.servers import ending


@pytest.fixture
def atelier(studio, tmp_path):
    with ending(Atelier(studio, Folders.under(tmp_path))) as made:
        yield made


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_hints_come_one_after_another_and_are_over_after_the_last(atelier, language):
    words, seen = Words(language), []
    for name in tour.PLACES:
        html = tour.draw(atelier, words)
        assert f"show {name}" in html
        assert ("atelier_tour_back" in html) == bool(seen)
        seen.append(html)
        tour.move(atelier, "next")
    assert tour.draw(atelier, words) == ""
    assert len(set(seen)) == 5


def test_back_stops_at_the_first_and_other_orders_move_nothing(atelier):
    first = tour.draw(atelier, Words("en"))
    for verb in ("back", "show", "", "delete"):
        tour.move(atelier, verb)
    assert tour.draw(atelier, Words("en")) == first


def test_put_away_it_stays_away_in_the_data_folder(atelier):
    tour.move(atelier, "close")
    atelier.settings.save()
    assert json.loads((atelier.folders.data / "settings.json").read_text(encoding="utf-8"))[tour.AT] == tour.OVER
    tour.move(atelier, "next")
    assert tour.draw(atelier, Words("en")) == ""


@pytest.mark.parametrize("kept", [99, "1", None, -7])
def test_what_no_hint_has_shows_none(atelier, kept):
    atelier.settings.put(tour.AT, kept)
    assert tour.draw(atelier, Words("en")) == ""

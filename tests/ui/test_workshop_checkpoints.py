"""The parts of Merge that read and write checkpoints, through their handlers and in a page of both languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_lora.formats.lora import read_lora
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.merge.extract_spec import DEFAULT_RULE
from lib_lora.merge.rank_rule import RULES
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.ui.workshop import checkpoints, rows
from tests.merge import checkpoint_pairs as made
from tests.merge.test_extract import pair_of
from tests.ui.test_workshop import Host, last


@pytest.fixture
def atelier(tmp_path: Path, studio) -> Atelier:
    folders = Folders.under(tmp_path / "data")
    folders.checkpoints.mkdir()
    pair_of(folders.checkpoints, "sd1")
    return Atelier(Host(studio.model, studio.presets, folders.loras), folders)


def more(words: Words, **said: object) -> list[object]:
    usual = {"cap": 0, "parts": "", "conv_rank": "", "text": True, "norms": False, "precision": "fp16"}
    return [*(usual | said).values(), words("workshop.prediction_auto")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_lora_is_extracted_and_written_back_by_two_buttons(atelier: Atelier, language: str) -> None:
    words = Words(language)
    do = checkpoints.Handlers(atelier, words)
    rule = words.said(RULES["rank"].label)
    steps = list(do.extract("tuned", "base", "", False, rule, 4, *more(words, conv_rank="2")))
    assert steps[0][2]["visible"]  # Cancel, while it goes on
    message, report, *_ = steps[-1]
    assert "tuned_minus_base_r4" in message
    assert "IN04" in report
    assert "80 → 4" in report
    lora = read_lora(atelier.folders.loras / "tuned_minus_base_r4.safetensors")
    assert {adapter.rank for adapter in lora.adapters.values()} == {2, 4}
    flat = [*("tuned_minus_base_r4", 0.5, "ALL", 1.0, 1.0), *(rows.EMPTY * (rows.MOST - 1))]
    message, report, *_ = last(do.into("base", "girl in it", False, *flat))
    path = atelier.folders.checkpoints / "girl in it.safetensors"
    assert str(path) in message
    assert made.digest(path) in report
    assert "girl in it" in do.refresh("base")[0]["choices"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_cannot_be_right_is_said_and_a_taken_name_offers_to_replace(atelier: Atelier, language: str) -> None:
    words = Words(language)
    do = checkpoints.Handlers(atelier, words)
    rule, empty = words.said(RULES["rank"].label), rows.EMPTY * rows.MOST
    for message, _, _, replace in (
        last(do.extract("", "", "", False, rule, 4, *more(words))),
        last(do.extract("tuned", "tuned", "", False, rule, 4, *more(words))),
        last(do.extract("tuned", "base", "", False, rule, 4, *more(words, conv_rank="much"))),
        last(do.into("base", "", False, *empty)),
        last(do.into("", "", False, *empty)),
    ):
        assert "atelier-error" in message
        assert not replace["visible"]
    list(do.extract("tuned", "base", "mine", False, rule, DEFAULT_RULE.value, *more(words)))
    message, _, _, replace = last(do.extract("tuned", "base", "mine", False, rule, 4, *more(words)))
    assert "atelier-error" in message
    assert replace["visible"]
    assert "mine" in last(do.extract("tuned", "base", "mine", True, rule, 4, *more(words)))[0]


def test_a_rule_shows_its_usual_value_and_holds_its_limits(atelier: Atelier) -> None:
    words = Words("en")
    do = checkpoints.Handlers(atelier, words)
    order = do.order("tuned", "base", "a file size (MB)", 1.5, *more(words, cap=24, parts="BASE::0.5, :attn2:1"))
    rule = order.rule
    assert (rule.kind, rule.value, rule.cap, rule.parts) == ("size", 1.5, 24, ("BASE::0.5", ":attn2:1"))
    order = do.order("tuned", "base", "a share of the energy", 0.9, *more(words))
    assert (order.rule.kind, order.rule.value) == ("energy", 0.9)
    usual = do.rules.usual_values()
    assert (usual["a share of the energy"], usual["a fixed rank"]) == (0.95, 32)
    assert "0.9 to 0.99" in do.rules.explained("a share of the energy")["info"]

"""The planner of the Workshop: its row, its texts and its pictures, through the handlers and in a browser."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
import torch

from lib_lora.formats.lora import write_lora
from lib_lora.host.studio import StudioHost
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.ui.compat import gr
from lib_lora.ui.workshop import blocks, planner
from tests.conftest import random_lora
from tests.servers import ending

ONES = ",".join(["1"] * 17)
FIRST = "Gobuhime:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5"
PICTURE = ("girl", 3, 2, "", 3.0, None, None)


@pytest.fixture
def atelier(tmp_path: Path, studio):
    folders = Folders.under(tmp_path / "data")
    for seed, (name, conv) in enumerate((("girl", False), ("dress", True))):
        lora = random_lora(studio.model, rank=2, seed=seed, conv=conv)
        lora.metadata = {"modelspec.trigger_phrase": f"{name} word"}
        write_lora(lora, folders.loras / f"{name}.safetensors", dtype=torch.float16)
    with ending(Atelier(StudioHost(studio.model, (folders.loras,), studio.presets), folders)) as made:
        yield made


def facts_of(atelier: Atelier, name: str) -> dict:
    return list(blocks.Handlers(atelier, Words("en")).look(name))[-1][3]


def form(*fixed: str, step: float = 0.5, mode: str = "sub") -> str:
    return json.dumps({"fixed": fixed, "step": step, "mode": mode})


def all_but(*free: str) -> list[str]:
    from lib_lora.blocks.layouts import full_layout

    return [name for name in full_layout("sd1").names if name not in free]


@pytest.mark.parametrize(("name", "count"), [("girl", 17), ("dress", 25)])
def test_the_row_has_a_cell_for_each_block_of_the_file(atelier: Atelier, name: str, count: int) -> None:
    facts = facts_of(atelier, name)
    row, prompt, *_ = next(planner.Handlers(atelier, Words("en")).open(facts, "", ""))
    assert row.count('class="atelier-plan-cell"') == count
    assert prompt == f"{name} word"
    known = json.loads(html.unescape(re.search(r'data-known="([^"]*)"', row)[1]))
    assert len(known["Gobuhime"]) == (17 if name == "girl" else 26)
    assert "data-layouts" in row
    for one, other, expected in (
        ("mine", "theirs", gr.update()),
        ("", "theirs", "theirs"),
        ("", "<lora:x:1>", f"{name} word"),
    ):
        assert next(planner.Handlers(atelier, Words("en")).open(facts, one, other))[1] == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_plan_says_its_pictures_and_its_texts(atelier: Atelier, language: str) -> None:
    do = planner.Handlers(atelier, Words(language))
    facts = facts_of(atelier, "girl")
    said, texts = do.planned(facts, ONES, form("BASE", "IN01"), 2, *PICTURE)
    assert "32" in said, "fifteen blocks and the base, with two seeds"
    text = html.unescape(texts)
    assert "SubIN02_0.5:1,1,0.5,1" in text
    assert "Sub, SubIN02_0.5" in text
    assert "lbw=Sub, lbw=SubIN02_0.5" in text
    assert '"down_lr_weight=0,1,1,0,1,1,0,1,1,0,0,0" "mid_lr_weight=1"' in text
    assert "\nIN02,IN04" in text.replace(">", ">\n")
    said, _ = do.planned(facts, ONES, form(mode="add"), 1, *PICTURE)
    assert "atelier-warning" in said, "above 1"


def test_what_cannot_be_right_is_said_in_the_place_of_the_estimate(atelier: Atelier) -> None:
    do = planner.Handlers(atelier, Words("en"))
    facts = facts_of(atelier, "girl")
    for vector, more in (("1,2", {}), ("NOSUCH", {}), (ONES, {"step": -1}), (ONES, {"mode": "x"})):
        said, texts = do.planned(facts, vector, form(**more), 1, *PICTURE)
        assert "atelier-error" in said
        assert texts == gr.update()
        assert "atelier-error" in next(do.start(facts, vector, form(**more), 1, *PICTURE))[0]
    assert do.planned({}, ONES, form(), 1, *PICTURE)[0] == ""
    assert "atelier-error" in next(do.start({}, ONES, form(), 1, *PICTURE))[0]


def test_one_click_renders_each_vector_once_and_an_opened_page_finds_it(atelier: Atelier) -> None:
    do = planner.Handlers(atelier, Words("en"))
    facts = facts_of(atelier, "girl")
    fixed = form(*all_but("IN04", "OUT05"), mode="subadd")
    status, pictures = list(do.start(facts, ONES, fixed, 1, *PICTURE))[-1]
    assert "atelier-good" in status
    assert pictures.count("<figure") == 5
    assert pictures.count("atelier-plan-take") == 4
    assert 'data-block="IN04" data-value="0.5" data-before="1"' in pictures
    assert 'data-block="OUT05" data-value="1.5" data-before="1"' in pictures
    assert len(list((atelier.folders.outputs / "plans").rglob("*.png"))) == 6, "five, and the grid"
    again = list(planner.Handlers(atelier, Words("ja")).open(facts, "", ""))
    assert again[-1][-1].count("<figure") == 5
    assert list(do.open(facts_of(atelier, "dress"), "", ""))[-1][-1] == "", "another file has its own"
    assert atelier.host.presets.text == StudioHost.open(None).presets.text


def test_weights_from_elsewhere_are_read_into_the_files_own_length(atelier: Atelier) -> None:
    do = planner.Handlers(atelier, Words("en"))
    vector, said = do.read(FIRST, 0, facts_of(atelier, "girl"))
    assert vector == "1,0.5,1,0.5,0.5,1,1,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5"
    assert "Gobuhime" in said
    whole, _ = do.read("NIN", 0.5, facts_of(atelier, "dress"))
    assert whole == "1,0.5,0,0,0.5,0,0,0.5,0,0,0.5,0.5,0.5,0,0.5,0.5,0.5,1,1,1,1,1,1,1,1,1"
    rates, said = do.read('"down_lr_weight=0,0.5,1"', 0, facts_of(atelier, "dress"))
    assert rates.startswith("1,0,0.5,1,1")
    assert "up_lr_weight is not there" in said
    for wrong in ("", "NOSUCH", "1,2,3", ",".join("1" * 20)):
        assert "atelier-error" in do.read(wrong, 0, facts_of(atelier, "girl"))[1]

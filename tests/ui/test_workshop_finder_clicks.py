"""Find weights in Chromium: the order, the progress, the result, and its way to planner, prompt, preset and file."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.formats.lora import read_lora, write_lora
from tests.conftest import random_lora
from tests.ui.browser import open_tab, running_studio, sideways
from tests.ui.walking import Walker, visit

VECTOR = re.compile(r"^[\d.]+(,[\d.]+){16}$")


@pytest.fixture(scope="module")
def studio_server(visitor, tmp_path_factory):
    """A studio whose pictures before and after take one step."""
    with running_studio(tmp_path_factory.mktemp("short") / "data", program="tests.short_make") as running:
        yield running


@pytest.fixture(scope="module")
def girl(studio_server, model):
    """A LoRA in the studio's list."""
    lora = random_lora(model, rank=2, seed=1, size=0.02)
    lora.metadata = {"modelspec.trigger_phrase": "krnk"}
    return write_lora(lora, studio_server.data / "loras" / "girl.safetensors")


def opened(visitor, url: str, language: str, **more) -> Walker:
    walker = visit(visitor, url, language)
    if more:
        walker.page.set_viewport_size(more)
    open_tab(walker.page, "workshop")
    walker.choose("workshop_file", "girl")
    expect(walker.page.locator(".atelier-plan-cell")).to_have_count(17)
    walker.open("find_box")
    return walker


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", ["en", "ja"])
def test_from_a_search_to_planner_prompt_preset_and_file(studio_server, visitor, girl, language: str) -> None:
    walker = opened(visitor, studio_server.url, language)
    page, words = walker.page, walker.words
    walker.press("find_stop")
    assert walker.said("find_status") == words("finder.nothing_runs")
    walker.open("find_more")
    for name, value in {"neutral": "ghost\nninja", "rounds": "1", "levels": "1", "seeds": "1"}.items():
        walker.type(f"find_{name}", value)
    expect(walker.at("find_estimate")).to_contain_text(re.compile(r"\d"))
    walker.press("find_start")
    picture = walker.at("find_result").locator("img.atelier-found-picture")
    expect(picture).to_be_visible()
    page.wait_for_function("document.querySelector('.atelier-found-picture').naturalWidth > 600")
    walker.check_words(walker.at("find_result").locator(".atelier-good").first.inner_text())
    walker.reads("find_result", words("finder.kept"))
    expect(walker.at("find_result").locator(".atelier-found-weights span")).to_have_count(17)

    vector_before = walker.box("workshop_vector").input_value()
    walker.press("find_take")
    assert words("finder.taken") in walker.said("find_said")
    expect(walker.box("workshop_vector")).not_to_have_value(vector_before)
    expect(walker.box("workshop_vector")).to_have_value(VECTOR)
    found = walker.box("workshop_vector").input_value()
    for cell, value in zip(page.locator(".atelier-plan-value").all(), found.split(","), strict=True):
        expect(cell).to_have_value(value)

    name = f"FOUND_{language}"
    walker.press("find_save")
    expect(walker.at("workshop_preset_name")).to_be_visible()
    page.wait_for_timeout(500)  # gradio 6 builds only now what is in it
    walker.type("workshop_preset_name", name)
    expect(walker.box("workshop_preset_name")).to_have_value(name)
    walker.press("workshop_save_preset")
    walker.reads("workshop_blocks_said", name)
    assert f"{name}:{found}" in (studio_server.data / "lbwpresets.txt").read_text(encoding="utf-8")

    walker.press("find_use")
    walker.prompt_reads(rf"<lora:girl:1:lbw={re.escape(found)}>")
    expect(walker.box("generate_prompt")).to_be_visible()  # the page goes there by itself, after the prompt is written
    open_tab(page, "workshop")
    walker.press("find_bake")
    expect(walker.box("workshop_name")).to_have_value(re.compile("girl"))
    walker.press("workshop_save")
    baked = walker.box("workshop_name").input_value()
    walker.reads("workshop_merge_message", f"{baked}.safetensors")
    assert len(read_lora(studio_server.data / "loras" / f"{baked}.safetensors").adapters) > 0

    again = walker.again(studio_server.url)
    open_tab(again.page, "workshop")
    again.choose("workshop_file", "girl")
    again.open("find_box")
    expect(again.at("find_result").locator("img.atelier-found-picture")).to_be_visible()
    assert visitor.complaints == []


def test_a_stop_keeps_the_rounds_and_a_narrow_window_holds_the_panel(studio_server, visitor, girl) -> None:
    walker = opened(visitor, studio_server.url, "ja", width=820, height=1200)
    walker.open("find_more")
    walker.type("find_rounds", "10")
    walker.type("find_levels", "12")
    walker.press("find_start")
    expect(walker.at("find_status").locator(".atelier-progress")).to_contain_text("残り")
    assert sideways(walker.page) == 0
    walker.press("find_stop")
    expect(walker.at("find_status")).to_contain_text("済んだ回の続き")

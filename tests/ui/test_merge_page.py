"""Merge as a person sees it: a prompt's LoRAs become rows, another method asks for its numbers; in Chromium."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.formats.lora import write_lora
from tests.conftest import random_lora
from tests.ui.browser import open_tab
from tests.ui.walking import visit


@pytest.fixture(scope="module")
def two_loras(studio_server, model):
    """Two LoRAs in the studio's list."""
    for seed, name in enumerate(("girl", "dress")):
        write_lora(random_lora(model, rank=2, seed=seed), studio_server.data / "loras" / f"{name}.safetensors")


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_prompts_loras_are_joined_by_a_method_that_asks_for_its_number(
    studio_server, visitor, two_loras, language
) -> None:
    walker = visit(visitor, studio_server.url, language)
    words = walker.words
    open_tab(walker.page, "workshop")
    walker.bench("merge")
    walker.page.get_by_text(words("workshop.from_prompt"), exact=True).click()
    walker.type("workshop_merge_prompt", "x <lora:girl:1:MIDD> <lora:dress:0.5>")
    walker.press("workshop_merge_get")
    expect(walker.at("workshop_row2").locator("input")).to_have_value("dress")
    expect(walker.at("workshop_density")).to_be_hidden()
    walker.choose("workshop_join", words("workshop.join_ties"))
    expect(walker.box("workshop_density")).to_have_value("0.2")
    expect(walker.box("workshop_name")).to_have_value("girl_1_MIDD+dress_0.5_ties")
    walker.press("workshop_preview")
    walker.reads("workshop_merge_message", words("workshop.previewed"))
    expect(walker.at("workshop_report")).to_contain_text(words("workshop.overlap_meaning"))
    walker.choose("workshop_join", words("workshop.join_project"))
    expect(walker.at("workshop_side")).to_be_visible()
    expect(walker.at("workshop_density")).to_be_hidden()
    walker.press("workshop_preview")
    expect(walker.at("workshop_report")).to_contain_text(words("workshop.head_left"))


@pytest.mark.each_gradio
def test_a_file_is_written_in_another_form_by_clicks(studio_server, visitor, two_loras) -> None:
    walker = visit(visitor, studio_server.url, "ja")
    words = walker.words
    open_tab(walker.page, "workshop")
    walker.bench("merge")
    walker.page.get_by_text(words("workshop.rewrite"), exact=True).click()
    expect(walker.box("workshop_rewrite_file")).to_have_value("")
    walker.choose("workshop_rewrite_file", "girl")
    walker.choose("workshop_rewrite_to", "comfyui")
    walker.type("workshop_rewrite_name", "girl_comfy")
    walker.press("workshop_rewrite_save")
    walker.reads("workshop_rewrite_message", "girl_comfy.safetensors")
    expect(walker.box("workshop_rewrite_file")).to_have_value("girl")
    walker.choose("workshop_rewrite_file", "girl_comfy")  # the list has it now
    assert visitor.complaints == []

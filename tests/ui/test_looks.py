"""What a page looks like where it is narrow, and what follows a person from tab to tab; in Chromium."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.formats.lora import write_lora
from tests.conftest import random_lora
from tests.ui.browser import open_tab
from tests.ui.walking import visit

WIDTHS = (1280, 820, 480)

CROWDED = """() => [...document.querySelectorAll('.atelier-block-name')].filter(name => {
    const range = document.createRange();
    range.selectNodeContents(name);
    const text = range.getBoundingClientRect(), cell = name.parentElement.getBoundingClientRect();
    return text.left < cell.left - 0.5 || text.right > cell.right + 0.5;
}).map(name => name.textContent)"""
"""Names of blocks that stand out of their cell, into that of the neighbor."""


@pytest.fixture(scope="module")
def wide_lora(studio_server, model):
    """A LoRA with as many blocks as there are, in the studio's list."""
    return write_lora(random_lora(model, rank=2, conv=True), studio_server.data / "loras" / "wide.safetensors")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_names_of_blocks_stay_in_their_cells(studio_server, visitor, wide_lora, language):
    walker = visit(visitor, studio_server.url, language)
    walker.type("generate_prompt", "a <lora:wide:1>")
    walker.at("generate_bw_accordion").locator("button").first.click()
    expect(walker.page.locator(".atelier-block-name").first).to_be_visible()
    for width in WIDTHS:
        walker.page.set_viewport_size({"width": width, "height": 1400})
        walker.page.wait_for_timeout(100)
        assert walker.page.evaluate(CROWDED) == []


@pytest.mark.each_gradio
def test_a_file_chosen_in_blocks_is_chosen_in_merge_and_metadata(studio_server, visitor, wide_lora):
    walker = visit(visitor, studio_server.url, "en")
    open_tab(walker.page, "workshop")
    walker.bench("blocks")
    walker.choose("workshop_file", "wide")
    expect(walker.at("workshop_blocks_table")).to_contain_text("IN04")
    walker.bench("merge")
    expect(walker.at("workshop_row1").locator("input")).to_have_value("wide")
    walker.bench("metadata")
    expect(walker.at("workshop_meta_file").locator("input")).to_have_value("wide")
    walker.bench("merge")
    expect(walker.at("workshop_row1").locator("input")).to_have_value("wide")


SLOW_LINE = {"offline": False, "latency": 1500, "downloadThroughput": -1, "uploadThroughput": -1}


def test_what_is_chosen_at_once_is_not_replaced_by_the_file_of_the_other_tab(studio_server, visitor, wide_lora, model):
    walker = visit(visitor, studio_server.url, "en")
    open_tab(walker.page, "workshop")
    walker.bench("blocks")
    walker.choose("workshop_file", "wide")
    expect(walker.at("workshop_blocks_table")).to_contain_text("IN04")
    write_lora(random_lora(model, rank=2), studio_server.data / "loras" / "other.safetensors")
    walker.page.context.new_cdp_session(walker.page).send("Network.emulateNetworkConditions", SLOW_LINE)
    walker.bench("metadata")
    own = walker.at("workshop_meta_file").locator("input")
    other = walker.page.get_by_role("option", name="other")
    for _ in range(100):  # it is there as soon as the list was sent anew
        own.click()
        if other.is_visible():
            break
        own.blur()
        walker.page.wait_for_timeout(100)
    other.click()
    walker.page.wait_for_timeout(4000)  # longer than a further answer would take
    expect(own).to_have_value("other")


PAINTED = """() => {
    const plot = document.querySelector('.atelier-tier .atelier-plot');
    const box = plot.getBoundingClientRect();
    return {
        bars: [...new Set([...plot.querySelectorAll('rect.bar')].map(bar => getComputedStyle(bar).fill))],
        cut: [...plot.querySelectorAll('.name')].filter(name => getComputedStyle(name).overflow !== 'visible').length,
        outside: [...plot.querySelectorAll('.name text')].filter(name => {
            const text = name.getBoundingClientRect();
            return text.left < box.left || text.right > box.right + 1 || text.bottom > box.bottom;
        }).map(name => name.textContent),
    };
}"""


@pytest.mark.each_gradio
def test_the_bars_of_a_tier_are_painted_and_named(studio_server, visitor, wide_lora):
    walker = visit(visitor, studio_server.url, "en")
    walker.type("generate_prompt", "a <lora:wide:1>")
    walker.open("generate_bw_accordion")
    walker.open("generate_analyzer")
    walker.at("generate_analyzer_tier").get_by_text(walker.words("block_weight.tier_norms"), exact=True).click()
    walker.reads("generate_analyzer_estimate", walker.words("block_weight.estimate_quick"))
    walker.press("generate_analyzer_start")
    expect(walker.page.locator(".atelier-tier rect.bar").nth(20)).to_be_visible()
    for width in WIDTHS:
        walker.page.set_viewport_size({"width": width, "height": 1400})
        walker.page.wait_for_timeout(100)
        seen = walker.page.evaluate(PAINTED)
        assert seen["bars"] == ["rgb(232, 112, 10)"]
        assert (seen["cut"], seen["outside"]) == (0, [])
    assert visitor.complaints == []

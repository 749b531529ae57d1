"""The planner in Chromium: plan, render, decide by clicks, undo, save, use, bake; by keyboard as well."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import Page, expect

from lib_lora.formats.lora import read_lora, write_lora
from tests.conftest import random_lora
from tests.ui.browser import open_tab, sideways
from tests.ui.walking import Walker, visit

FREE = ("IN04", "M00", "OUT05")


@pytest.fixture(scope="module")
def girl(studio_server, model):
    """A LoRA in the studio's list."""
    lora = random_lora(model, rank=2, seed=1)
    lora.metadata = {"modelspec.trigger_phrase": "krnk"}
    return write_lora(lora, studio_server.data / "loras" / "girl.safetensors")


def opened(visitor, url: str, language: str) -> Walker:
    walker = visit(visitor, url, language)
    open_tab(walker.page, "workshop")
    walker.choose("workshop_file", "girl")
    expect(walker.page.locator(".atelier-plan-cell")).to_have_count(17)
    return walker


def cell(page: Page, block: str, part: str):
    return page.locator(f'.atelier-plan-cell[data-block="{block}"] .atelier-plan-{part}')


def variant(page: Page, block: str, value: str, part: str):
    return page.locator(f'.atelier-variant[data-block="{block}"][data-value="{value}"] .atelier-plan-{part}')


def act(page: Page, name: str):
    return page.locator(f".atelier-plan-act[data-act={name}]")


def vector(walker: Walker, **changed: str) -> str:
    names = walker.page.locator(".atelier-plan").get_attribute("data-names").split(",")
    return ",".join(changed.get(name, "1") for name in names)


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", ["en", "ja"])
def test_from_a_plan_to_a_baked_file(studio_server, visitor, girl, language: str) -> None:
    walker = opened(visitor, studio_server.url, language)
    page, words = walker.page, walker.words
    expect(walker.box("plan_prompt")).to_have_value("krnk")

    act(page, "fix_all").click()
    for block in FREE:
        cell(page, block, "fix").uncheck()
    page.locator(".atelier-plan-mode").select_option("subadd")
    page.locator(".atelier-plan-step").fill("0.25")
    walker.reads("plan_estimate", "7")
    page.get_by_text(words("planner.more"), exact=True).click()
    walker.type("plan_steps", "2")
    before = (studio_server.data / "lbwpresets.txt").read_bytes() if _presets(studio_server).is_file() else None
    walker.press("plan_start")
    expect(page.locator(".atelier-variant")).to_have_count(7)
    expect(walker.at("plan_status").locator(".atelier-good")).to_be_visible()

    variant(page, "IN04", "0.75", "take").click()
    expect(walker.box("workshop_vector")).to_have_value(vector(walker, IN04="0.75"))
    expect(cell(page, "IN04", "fix")).to_be_checked()
    variant(page, "M00", "1.25", "keep").click()
    expect(cell(page, "M00", "fix")).to_be_checked()
    variant(page, "OUT05", "1.25", "take").click()
    expect(walker.box("workshop_vector")).to_have_value(vector(walker, IN04="0.75", OUT05="1.25"))
    act(page, "undo").click()
    expect(walker.box("workshop_vector")).to_have_value(vector(walker, IN04="0.75"))
    expect(cell(page, "OUT05", "fix")).not_to_be_checked()
    expect(walker.at("workshop_blocks_table")).to_contain_text("0.75")
    act(page, "next").click()
    expect(page.locator(".atelier-variant")).to_have_count(3)
    expect(variant(page, "OUT05", "0.75", "take")).to_be_visible()
    after = _presets(studio_server).read_bytes() if _presets(studio_server).is_file() else None
    assert after == before, "presets stay until one is saved"

    name = f"SHAPE_{language}"
    page.get_by_text(words("workshop.save_preset_title"), exact=True).click()
    page.wait_for_timeout(300)  # gradio 6 builds only now what is in it
    walker.type("workshop_preset_name", name)
    walker.press("workshop_save_preset")
    walker.reads("workshop_blocks_said", name)
    assert f"{name}:{vector(walker, IN04='0.75')}" in _presets(studio_server).read_text(encoding="utf-8")
    expect(walker.at("workshop_preset").locator("input")).to_have_value(name)
    walker.press("workshop_blocks_use")
    walker.prompt_reads(rf"<lora:girl:1:{name}>")

    open_tab(page, "workshop")
    walker.press("workshop_blocks_bake")
    expect(walker.box("workshop_name")).to_have_value(f"girl_1_{name}")
    walker.press("workshop_save")
    walker.reads("workshop_merge_message", f"girl_1_{name}.safetensors")
    baked = read_lora(studio_server.data / "loras" / f"girl_1_{name}.safetensors")
    assert len(baked.adapters) == len(read_lora(girl).adapters)
    assert visitor.complaints == []


def _presets(studio_server):
    return studio_server.data / "lbwpresets.txt"


def test_a_plan_goes_on_after_a_reload_and_the_keyboard_is_enough(studio_server, visitor, girl) -> None:
    walker = opened(visitor, studio_server.url, "en")
    page = walker.page
    value = cell(page, "IN05", "value")
    value.focus()
    value.fill("0.5")
    page.keyboard.press("Tab")
    expect(cell(page, "IN05", "fix")).to_be_focused()
    page.keyboard.press("Space")
    expect(cell(page, "IN05", "fix")).to_be_checked()
    expect(walker.box("workshop_vector")).to_have_value(vector(walker, IN05="0.5"))
    page.keyboard.press("Control+z")
    expect(cell(page, "IN05", "fix")).not_to_be_checked()
    page.keyboard.press("Control+z")
    expect(walker.box("workshop_vector")).to_have_value(vector(walker))
    cell(page, "BASE", "value").fill("0.8")
    page.keyboard.press("Tab")
    expect(walker.box("workshop_vector")).to_have_value(vector(walker, BASE="0.8"))

    again = walker.again(studio_server.url)
    open_tab(again.page, "workshop")
    again.choose("workshop_file", "girl")
    expect(again.page.locator(".atelier-plan-cell")).to_have_count(17)
    act(again.page, "again").click()
    expect(again.box("workshop_vector")).to_have_value(vector(again, BASE="0.8"))
    act(again.page, "undo").click()
    expect(again.box("workshop_vector")).to_have_value(vector(again))


def test_known_weights_stand_beside_and_can_be_begun_with(studio_server, visitor, girl) -> None:
    walker = opened(visitor, studio_server.url, "ja")
    page = walker.page
    page.get_by_text(walker.words("planner.hints"), exact=True).click()
    page.locator(".atelier-plan-known").first.select_option("Gobuhime")
    expect(page.locator('.atelier-plan-cell[data-block="OUT06"] .atelier-plan-hint').first).to_have_text("0.5")
    page.locator(".atelier-plan-act[data-act=take_hint]").first.click()
    expect(walker.box("workshop_vector")).to_have_value("1,0,1,0,0,1,1,1,1,1,1,0.5,0,0,0,0,0")
    act(page, "free_above").click()
    expect(cell(page, "IN01", "fix")).to_be_checked()
    expect(cell(page, "OUT06", "fix")).not_to_be_checked()
    walker.type("workshop_vector", "1,0.5,1,0,0,1,1,1,1,1,1,0.5,0,0,0,0,0.3")
    expect(cell(page, "IN01", "value")).to_have_value("0.5")
    assert sideways(page) == 0

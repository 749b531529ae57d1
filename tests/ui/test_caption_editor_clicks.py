"""The caption editor as a person uses it, in Chromium: filter, preview and apply, the button of a finding, undo."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from tests.ui.browser import open_tab, sideways
from tests.ui.walking import PICTURES, visit


def texts(folder):
    return [path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.txt"))]


@pytest.fixture
def folder(studio_server, request):
    """Six pictures of the studio's with captions, half of them with a smile."""
    place = studio_server.data / "pictures" / request.function.__name__[:20]
    place.mkdir(parents=True)
    for number, path in enumerate(PICTURES):
        shutil.copy(path, place)
        tags = "krnk, red hair" + (", smile" if number % 2 else "")
        (place / f"{path.stem}.txt").write_text(tags, encoding="utf-8")
    return place


def opened(studio_server, visitor, folder):
    walker = visit(visitor, studio_server.url, "en")
    open_tab(walker.page, "train")
    walker.type("train_folder", str(folder))
    walker.type("train_trigger", "krnk")
    walker.press("train_look")
    expect(walker.at("train_summary")).to_contain_text("found: 6")
    walker.open("train_captions")
    expect(walker.at("train_scope")).to_contain_text("all 6")
    return walker


@pytest.mark.each_gradio
def test_captions_are_filtered_previewed_changed_and_taken_back_after_a_reload(studio_server, visitor, folder):
    before, walker = texts(folder), opened(studio_server, visitor, folder)
    walker.box("train_only").fill("smile")
    walker.box("train_only").press("Enter")
    expect(walker.at("train_scope")).to_contain_text("3 of 6")
    walker.open("train_regex")
    expect(walker.box("train_regex_by")).to_be_visible()
    walker.page.wait_for_timeout(500)
    walker.type("train_regex_find", r"(\w+) hair")
    walker.type("train_regex_by", r"\1-haired")
    walker.press("train_regex_preview")
    expect(walker.at("train_regex_shown").locator("ins")).to_have_text(["red-haired"] * 3)
    assert texts(folder) == before
    walker.press("train_regex_apply")
    expect(walker.at("train_regex_shown")).to_contain_text("Captions changed: 3")
    expect(walker.at("train_undo")).to_contain_text("(1)")
    walker.box("train_only").fill("smile and (")
    walker.box("train_only").press("Enter")
    expect(walker.at("train_only_message")).to_contain_text("no choice of captions")
    walker.box("train_only").fill("")
    walker.box("train_only").press("Enter")
    expect(walker.at("train_scope")).to_contain_text("all 6")
    walker.press("train_undo")
    expect(walker.at("train_caption_message")).to_contain_text("returned to what they were: 3")
    expect(walker.at("train_undo")).to_have_text("Undo")
    walker.open("train_checks")
    walker.press("train_check")
    walker.at("train_checked").get_by_role("button", name="Remove from all").click()
    expect(walker.at("train_caption_message")).to_contain_text("Captions changed: 6")
    expect(walker.at("train_checked")).not_to_contain_text("red hair")
    assert texts(folder) == [text.replace(", red hair", "") for text in before]
    assert sideways(walker.page) == 0

    walker = opened(studio_server, visitor, folder)
    expect(walker.at("train_undo")).to_contain_text("(1)")
    walker.press("train_undo")
    expect(walker.at("train_caption_message")).to_contain_text("returned to what they were: 6")
    assert texts(folder) == before


@pytest.mark.each_gradio
def test_a_typed_filter_counts_and_another_folder_closes_the_caption(studio_server, visitor, folder):
    before, walker = texts(folder), opened(studio_server, visitor, folder)
    walker.at("train_gallery").locator("button:has(img)").nth(0).click()
    expect(walker.box("train_caption")).to_have_value(before[0])
    walker.box("train_only").fill("smile")  # and no Enter
    walker.type("train_tag", "krnk")
    walker.press("train_tag_remove")
    expect(walker.at("train_caption_message")).to_contain_text("Captions changed: 3")
    expect(walker.at("train_scope")).to_contain_text("3 of 6")
    assert texts(folder) == [text.replace("krnk, ", "") if "smile" in text else text for text in before]
    other = shutil.copytree(folder, folder.with_name("other"))
    walker.box("train_only").fill("")
    walker.type("train_folder", str(other))
    walker.press("train_look")
    expect(walker.box("train_caption")).to_have_value("")
    walker.box("train_caption").fill("of nothing")
    walker.press("train_caption_save")
    expect(walker.at("train_caption_message")).to_contain_text("No picture is chosen")
    assert texts(other) == texts(folder)

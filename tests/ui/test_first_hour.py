"""The first hour in the browser: cards that fill the page, the tour, empty panels, and all of it by keyboard."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.demo import trial
from lib_lora.i18n.words import Words
from lib_lora.ui import tour
from tests.ui.browser import open_tab, running_studio
from tests.ui.walking import visit

LANGUAGES = ("en", "ja")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_empty_panel_says_what_to_do_next(studio_server, visitor, language):
    """The first tests of the file: the studio is still empty."""
    words = Words(language)
    walker = visit(visitor, studio_server.url, language)
    walker.reads("generate_status", words("generate.first", folder="|").split("|")[0])
    open_tab(walker.page, "train")
    walker.reads("train_plan", words("train.plan_first"))
    walker.reads("train_run", words("train.no_run"))
    walker.open("train_past")
    walker.reads("train_list", words("train.no_past"))
    open_tab(walker.page, "workshop")
    for bench in ("blocks", "metadata"):
        walker.bench(bench)
        said = words("workshop.choose_file", folder="|").split("|")[0]
        expect(walker.page.get_by_text(said).filter(visible=True).first).to_be_visible()
    open_tab(walker.page, "report")
    walker.reads("report_shown", words("report.none", command="|").split("|")[0])


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_card_fills_the_prompt_and_the_picture_is_made(studio_server, visitor, language):
    walker = visit(visitor, studio_server.url, language)
    example = trial.EXAMPLES[2]
    walker.press(f"try_{example.name}")
    walker.prompt_reads(re.escape(example.prompt))
    expect(walker.box("generate_seed")).to_have_value(str(example.seed))
    walker.generate(2)
    assert walker.at("generate_status").locator(".atelier-error, .atelier-warning").count() == 0
    assert visitor.complaints == []


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_shipped_analysis_opens_by_one_click(studio_server, visitor, language):
    walker = visit(visitor, studio_server.url, language)
    walker.press("try_analysis")
    grid = walker.at("generate_analyzer_grids").locator("img").first
    expect(grid).to_be_visible()
    assert grid.evaluate("image => image.complete && image.naturalWidth > 500")
    expect(walker.at("generate_analyzer_table")).to_contain_text("OUT08")
    expect(walker.at("generate_bw_lora").locator("input").first).to_have_value(re.compile("krnk_demo"))
    assert visitor.complaints == []


@pytest.mark.each_gradio
def test_krnks_pictures_are_laid_out_for_a_training(studio_server, visitor):
    walker = visit(visitor, studio_server.url, "en")
    walker.press("try_train")
    walker.reads("train_summary", walker.words("train.n_found", n=12))
    expect(walker.box("train_trigger")).to_have_value("krnk")
    expect(walker.box("train_name")).to_have_value("krnk_v1")
    assert visitor.complaints == []


@pytest.mark.each_gradio
def test_the_tour_leads_through_the_tabs_by_keyboard_and_is_put_away_for_ever(visitor, data):
    with running_studio(data) as studio:
        walker = visit(visitor, studio.url, "en")
        for name in tour.PLACES:
            walker.reads("tour", walker.words(f"app.tour_{name}"))
            walker.at("tour_show").focus()
            walker.page.keyboard.press("Enter")
            place = walker.page.locator(f"#{tour.PLACES[name][1][-1]}").first
            expect(place).to_be_visible()
            expect(place).to_have_class(re.compile("atelier-shown"))
            if walker.at("tour_next").count():
                walker.at("tour_next").focus()
                walker.page.keyboard.press("Enter")
                expect(walker.page.locator("#atelier_tour_next, #atelier_tour_close").first).to_be_focused()
        walker.at("tour_back").focus()
        walker.page.keyboard.press("Escape")
        expect(walker.page.locator(".atelier-tour")).to_have_count(0)
        walker = walker.again(studio.url)
        expect(walker.page.locator(".atelier-tour")).to_have_count(0)
        assert visitor.complaints == []
    assert json.loads((data / "settings.json").read_text(encoding="utf-8"))[tour.AT] == tour.OVER


def test_cards_that_were_put_away_and_a_deleted_lora_do_not_come_back(visitor, data):
    with running_studio(data) as studio:
        walker = visit(visitor, studio.url, "en")
        walker.page.get_by_role("button", name=walker.words("generate.try_away")).click()
        expect(walker.page.locator(".atelier-try")).to_have_count(0)
        (data / "loras" / trial.LORA.name).unlink()
        no_loras = walker.words("generate.no_loras", folder="|").split("|")[0]
        walker.reads("generate_loras", no_loras)
    with running_studio(data) as studio:
        walker = visit(visitor, studio.url, "ja")
        expect(walker.page.locator(".atelier-try")).to_have_count(0)
        assert list((data / "loras").iterdir()) == []

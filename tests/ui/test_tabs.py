"""One way through every tab, short enough for each gradio: `python run.py gradio3` and `gradio4` walk it too."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from tests.ui.browser import open_tab, sideways
from tests.ui.walking import PICTURES, Walker, visit

pytestmark = pytest.mark.each_gradio


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_picture_and_every_tab(studio_server, visitor, language):
    walker = visit(visitor, studio_server.url, language)
    walker.type("generate_prompt", "a face")
    walker.generate(4)
    open_tab(walker.page, "train")
    walker.type("train_folder", "")
    walker.drop_pictures(PICTURES)
    walker.reads("train_summary", walker.words("train.n_found", n=6))
    walker.type("train_trigger", f"krnk{language}")
    expect(walker.box("train_name")).to_have_value(f"krnk{language}_v1")
    walker.reads("train_plan", re.compile(r"\d"))
    open_tab(walker.page, "workshop")
    for name in ("blocks", "merge", "metadata"):
        walker.bench(name)
        expect(walker.at(f"workshop_tab_{name}")).to_be_visible()
        assert sideways(walker.page) == 0
    open_tab(walker.page, "report")
    walker.reads("report_shown", re.compile(r"\w"))
    assert sideways(walker.page) == 0
    assert visitor.complaints == []


def test_keys_alone_make_a_picture(studio_server, visitor):
    walker = visit(visitor, studio_server.url, "en")
    reach(walker, "#atelier_generate_prompt textarea")
    walker.page.keyboard.type("a face")
    reach(walker, "#atelier_generate_steps input[type=number]")
    walker.page.keyboard.press("ControlOrMeta+a")
    walker.page.keyboard.type("4")
    reach(walker, "#atelier_generate_go")
    walker.page.keyboard.press("Enter")
    expect(walker.at("generate_status").locator(".atelier-good")).to_be_visible()


def test_dark_and_light(studio_server, visitor):
    page = visitor.visit(studio_server.url, dark=True)
    button = page.locator(".atelier-theme")
    expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
    button.click()
    expect(page.locator("body")).not_to_have_class(re.compile(r"\bdark\b"))
    page.reload()
    expect(button).not_to_be_empty()
    expect(page.locator("body")).not_to_have_class(re.compile(r"\bdark\b"))


def reach(walker: Walker, selector: str, most: int = 60) -> None:
    """Press Tab until a widget has the focus."""
    for _ in range(most):
        walker.page.keyboard.press("Tab")
        if walker.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{most} times Tab do not lead to {selector}")

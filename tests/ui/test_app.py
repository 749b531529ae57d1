"""The studio's page in a browser: languages, tabs, theme, a server that comes back, settings that stay."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from lib_lora.host.request import GenerateRequest
from lib_lora.i18n.words import Words
from lib_lora.options import find
from lib_lora.ui.train.options import GROUPS, ROOM
from tests.ui.browser import (
    PATIENCE_MS,
    TABS,
    Studio,
    Visitor,
    open_tab,
    running_studio,
    settle,
    sideways,
    start_studio,
)

LANGUAGES = ("en", "ja")


@pytest.fixture(scope="module")
def pages(studio_server: Studio, visitor: Visitor) -> Iterator[dict[str, Page]]:
    """The page in both languages, for tests that leave it as it was."""
    made = {language: visitor.visit(studio_server.url, language=language) for language in LANGUAGES}
    yield made
    for page in made.values():
        page.context.close()


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_tab_stands_in_the_browsers_language_without_sideways_scrolling(
    studio_server: Studio, pages: dict[str, Page], visitor: Visitor, language: str
) -> None:
    page = pages[language]
    assert page.url == f"{studio_server.url}{language}/"
    words = Words(language)
    for name in TABS:
        open_tab(page, name)
        assert page.locator(f"#atelier_app_tab_{name}").is_visible()
        assert (
            words(f"app.tab_{name}")
            in page.locator("#atelier_app_tabs :is(.tab-nav, [role=tablist])").first.inner_text()
        )
        assert sideways(page) <= 0
    assert visitor.complaints == []


def test_language_switch_keeps_the_tab_and_is_remembered(studio_server: Studio, visitor: Visitor) -> None:
    page = visitor.visit(studio_server.url, language="en", tab="workshop")
    page.get_by_role("link", name="日本語").click()
    page.wait_for_url(f"{studio_server.url}ja/")
    settle(page)
    page.locator("#atelier_app_tab_workshop").wait_for()
    page.goto(studio_server.url)
    assert page.url == f"{studio_server.url}ja/"


def test_theme_follows_the_system_and_the_switch_is_remembered(studio_server: Studio, visitor: Visitor) -> None:
    page = visitor.visit(studio_server.url, dark=True)
    is_dark = "document.body.classList.contains('dark')"
    assert page.evaluate(is_dark)
    page.locator(".atelier-theme").click()
    assert not page.evaluate(is_dark)
    page.reload()
    settle(page)
    assert not page.evaluate(is_dark)


def test_ctrl_c_with_an_open_page_ends_without_a_traceback(visitor: Visitor, data: Path) -> None:
    studio = start_studio(data, anew=True)
    page = visitor.visit(studio.url)
    with urllib.request.urlopen(f"{studio.url}en/gradio_api/queue/data?session_hash=left", timeout=30) as told:
        assert b"session_not_found" in told.readline()
    assert studio.stop() == 0
    assert "Traceback" not in (said := studio.said), said
    page.close()
    visitor.complaints.clear()  # of the server that is gone


def test_server_asks_nobody_else_ends_cleanly_on_ctrl_c_and_keeps_what_was_typed(visitor: Visitor, data: Path) -> None:
    asked: list[str] = []
    with running_studio(data) as first:
        page = visitor.visit(first.url, language="en", heard=asked)
        prompt = page.get_by_label(Words("en").said(find(GenerateRequest, "prompt").label)).first
        prompt.fill("a cat in the rain")
        wait_for(lambda: remembered(data).get("generate.prompt") == "a cat in the rain")
        page.goto(f"{first.url}ja/")
        settle(page)
        again = page.get_by_label(Words("ja").said(find(GenerateRequest, "prompt").label)).first
        wait_for(lambda: again.input_value() == "a cat in the rain", page)
        page.close()
        assert first.stop() == 0
        assert "Traceback" not in (said := first.said), said
    assert [url for url in asked if not url.startswith((first.url, "data:", "blob:"))] == []
    with running_studio(data) as second:
        page = visitor.visit(second.url, language="en")
        prompt = page.get_by_label(Words("en").said(find(GenerateRequest, "prompt").label)).first
        wait_for(lambda: prompt.input_value() == "a cat in the rain", page)


def test_listening_server_asks_for_the_password_everywhere(data: Path, visitor: Visitor) -> None:
    with running_studio(data, "--listen", "--auth", "mika:long-word") as studio:
        for path in ("", "en/", "lora-atelier/v1/live/train_run", "en/config"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(studio.url + path, timeout=10)
        secret = {"username": "mika", "password": "long-word"}
        page = visitor.visit(studio.url, http_credentials=secret)
        assert page.locator(".atelier-title").is_visible()


def remembered(data: Path) -> dict[str, object]:
    path = data / "settings.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def wait_for(condition, page=None, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        page.wait_for_timeout(100) if page else time.sleep(0.1)


def opened_options(page: Page) -> Locator:
    """Open the tab and *All options*, and return where they stand."""
    open_tab(page, "train")
    room = page.locator(f"#{ROOM}")
    if not page.locator(".atelier-find").is_visible():
        room.locator(".label-wrap").first.click()
    return room


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_search_shows_the_options_that_speak_of_a_word(
    pages: dict[str, Page], visitor: Visitor, language: str
) -> None:
    page = pages[language]
    room, words = opened_options(page), Words(language)
    rate, snr = (room.locator(f"#atelier_train_{name}_option") for name in ("learning_rate", "min_snr_gamma"))
    heads = room.locator(".atelier-fold-head:visible")
    expect(heads).to_have_count(len(GROUPS))
    expect(rate).to_be_hidden()
    learning = heads.filter(has_text=words("train.group.learning"))
    learning.press("Enter")
    expect(learning).to_have_attribute("aria-expanded", "true")
    expect(rate).to_be_visible()
    search = room.locator(".atelier-find [type=search]")
    search.fill("ＳＮＲ gamma")
    expect(rate).to_be_hidden()
    expect(snr).to_be_visible()
    assert heads.all_inner_texts() == [words("train.group.loss")]
    search.fill("xyzzy")
    expect(room.get_by_text(words("train.find_nothing"))).to_be_visible()
    expect(snr).to_be_hidden()
    search.fill("epochs")
    expect(room.locator("#atelier_train_epochs_option")).to_be_visible()
    search.fill("")
    expect(rate).to_be_visible()  # its group was opened by hand
    expect(snr).to_be_hidden()
    expect(heads).to_have_count(len(GROUPS))
    assert visitor.complaints == []


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_group_of_options_says_what_was_changed(pages: dict[str, Page], visitor: Visitor, language: str) -> None:
    page = pages[language]
    room, words = opened_options(page), Words(language)
    only = room.locator(".atelier-find [type=checkbox]")
    only.press("Space")
    expect(room.get_by_text(words("train.nothing_changed"))).to_be_visible()
    only.press("Space")
    head = room.locator(".atelier-fold-head[data-group=network]")
    head.press("Space")
    dim = room.locator("#atelier_train_dim_option input[type=number], #atelier_train_dim_option input").first
    dim.fill("7")
    dim.press("Tab")
    title = words("train.group.network")
    expect(head).to_have_text(f"{title}{words('train.n_changed', n=1)}", timeout=PATIENCE_MS)
    only.press("Space")
    expect(room.locator("[id$=_option]:visible")).to_have_count(1)
    expect(dim).to_be_visible()
    page.locator("[data-act='reset dim']").click()
    expect(head).to_be_hidden(timeout=PATIENCE_MS)
    only.press("Space")
    expect(head).to_have_text(title)
    expect(head).to_have_attribute("aria-expanded", "true")
    assert visitor.complaints == []

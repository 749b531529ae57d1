"""*Make it for me* to its end, by clicks alone: pictures dropped, a word typed, one button; then used in a picture.

The studio's orders are short (`tests/short_make.py`): every step is done, of each as little as shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from lib_lora.i18n.words import LANGUAGES, Words
from tests.ui.browser import ROOT, Studio, Visitor, running_studio, sideways
from tests.ui.walking import JAPANESE, visit

ALL_STEPS_MS = 900_000
"""Half a minute where nothing else works; a machine that does much beside takes long for eleven steps."""
DROPPED = sorted((ROOT / "lib_lora" / "demo" / "pictures").glob("*.png"))[:9]


@pytest.fixture(scope="module")
def short_studio(visitor: Visitor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running_studio(tmp_path_factory.mktemp("short") / "data", program="tests.short_make") as running:
        yield running


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_button_makes_a_lora_that_is_used_in_a_picture(
    visitor: Visitor, short_studio: Studio, language: str
) -> None:
    walker, words, name = visit(visitor, short_studio.url, language, tab="train"), Words(language), f"ready{language}"
    for field in ("make_images", "make_trigger"):  # what the last person typed comes back
        walker.type(field, "")
    walker.type("make_trigger", name)
    walker.drop_pictures(DROPPED, name="make_files")
    walker.reads("make_message", str(len(DROPPED)))
    walker.open("make_more")
    walker.type("make_steps", "3")
    walker.press("make_start")
    card = walker.at("makes").locator(".atelier-run").filter(has_text=name)
    bar = card.locator(".atelier-progress")
    left = words("make.left", time="T").split("T")[0].strip()
    expect(bar).to_contain_text(left)
    said = bar.inner_text()
    assert bool(JAPANESE.search(said)) == (language == "ja"), said
    expect(walker.at(f"make-use_{name}")).to_be_visible(timeout=ALL_STEPS_MS)
    expect(card.locator("img")).to_have_count(3)  # without, the usual recipe, ours
    expect(card).to_contain_text(words("make.state_done"))
    walker.check_words(card.locator(".atelier-message").first.inner_text())
    assert sideways(walker.page) == 0
    with walker.page.context.expect_page() as opened:
        card.locator("a.atelier-act").click()
    report = opened.value
    expect(report.locator("h1")).to_contain_text(words("make.title", name=name))
    expect(report.locator("img").first).to_be_visible()
    report.close()
    walker.at(f"make-use_{name}").click()
    walker.prompt_reads(re.escape(f"{name}, <lora:{name}:1>"))
    walker.generate(steps=1)
    assert not visitor.complaints

"""*Make it for me* to its end, by clicks alone: pictures dropped, a word typed, one button; then used in a picture.

The studio's orders are short (`tests/short_make.py`): every step is done, of each as little as shows it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.ui.browser import ROOT, Studio, Visitor, running_studio, sideways
from tests.ui.walking import JAPANESE, Walker, visit

ALL_STEPS_MS = 900_000
"""Half a minute where nothing else works; a machine that does much beside takes long for eleven steps."""
DROPPED = sorted((ROOT / "lib_lora" / "demo" / "pictures").glob("*.png"))[:8]
NAME = "ready"


@pytest.fixture(scope="module")
def short_studio(visitor: Visitor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running_studio(tmp_path_factory.mktemp("short") / "data", program="tests.short_make") as running:
        yield running


def test_one_button_makes_a_lora_that_is_used_in_a_picture(visitor: Visitor, short_studio: Studio) -> None:
    """One order, begun in Japanese, which a second person watches in English."""
    watcher = visit(visitor, short_studio.url, "en", tab="train")
    walker = visit(visitor, short_studio.url, "ja", tab="train")
    for field in ("make_images", "make_trigger"):  # what the last person typed comes back
        walker.type(field, "")
    walker.type("make_trigger", NAME)
    walker.drop_pictures(DROPPED, name="make_files")
    walker.reads("make_message", str(len(DROPPED)))
    walker.open("make_more")
    walker.type("make_steps", "3")
    walker.press("make_start")
    for one in (walker, watcher):
        bar = _card(one).locator(".atelier-progress")
        expect(bar).to_contain_text(one.words("make.left", time="T").split("T")[0].strip())
        assert bool(JAPANESE.search(bar.inner_text())) == (one.language == "ja"), bar.inner_text()
    for one in (walker, watcher):
        expect(one.at(f"make-use_{NAME}")).to_be_visible(timeout=ALL_STEPS_MS)
        expect(_card(one).locator("img")).to_have_count(3)  # without, the usual recipe, ours
        expect(_card(one)).to_contain_text(one.words("make.state_done"))
        one.check_words(_card(one).locator(".atelier-message").first.inner_text())
        assert sideways(one.page) == 0
        with one.page.context.expect_page() as opened:
            _card(one).locator("a.atelier-act").click()
        report = opened.value
        expect(report.locator("h1")).to_contain_text(NAME)
        expect(report.locator("img").first).to_be_visible()
        report.close()
        one.at(f"make-use_{NAME}").click()
        one.prompt_reads(rf"{NAME}\W+<lora:{NAME}:1>")
    watcher.generate(steps=1)
    assert not visitor.complaints


def _card(walker: Walker) -> Locator:
    return walker.at("makes").locator(".atelier-run").filter(has_text=NAME)

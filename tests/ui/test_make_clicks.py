"""*Make it for me* by clicks: refused without pictures, begun with dropped ones, stopped, and found again."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from lib_lora.i18n.words import LANGUAGES
from tests.ui.browser import Studio, Visitor, open_tab, sideways
from tests.ui.walking import PICTURES, visit


@pytest.mark.each_gradio
@pytest.mark.parametrize("language", LANGUAGES)
def test_dropped_pictures_and_a_word_begin_an_order_that_is_stopped_and_found_again(
    visitor: Visitor, studio_server: Studio, language: str
) -> None:
    walker = visit(visitor, studio_server.url, language, tab="train")
    name = f"krnk_{language}"
    for field in ("make_images", "make_trigger"):  # what the last person typed comes back
        walker.type(field, "")
    walker.press("make_start")
    assert walker.said("make_message")
    walker.type("make_trigger", name)
    walker.drop_pictures(PICTURES[:3], name="make_files")
    walker.reads("make_message", "3")
    expect(walker.box("make_images")).to_have_value(str(studio_server.data / "pictures" / name))
    walker.press("make_start")
    walker.reads("makes", name)
    assert sideways(walker.page) == 0
    walker.at(f"make-stop_{name}").click()
    walker.reads("makes", walker.words("make.go"))
    again = walker.again(studio_server.url)
    open_tab(again.page, "train")
    again.reads("makes", name)

"""Each handler of an event stands for itself on a page of gradio 6."""

from __future__ import annotations

from collections import Counter

import pytest
from fastapi import FastAPI

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.ui import compat
from lib_lora.ui.app import build_page
from lib_lora.ui.compat import gr

pytestmark = pytest.mark.skipif(not compat.IS_G6, reason="older gradio calls them side by side by itself")


def handlers(page: gr.Blocks) -> Counter[tuple[int, str]]:
    """Return how many handlers each event of a page calls."""
    return Counter(target for one in page.fns.values() for target in one.targets if target[0] is not None)


def test_no_event_of_the_studio_calls_two_handlers(studio, tmp_path):
    page = build_page(Atelier(studio, Folders.under(tmp_path)), Words("en"))
    assert max(handlers(page).values()) > 1
    compat.mount(FastAPI(), page, "/en", upload_limit=1)
    assert {name for (_, name), n in handlers(page).items() if n > 1} == {"load"}


def test_what_followed_a_handler_still_does_and_one_alone_is_left_as_it_was():
    with gr.Blocks() as page:
        box, other = gr.Textbox(), gr.Textbox()
        one = box.change(str, box, other)
        two = box.change(len, box)
        after = one.then(str, other)
        alone = box.submit(str, box)
    compat.mount(FastAPI(), page, "/en", upload_limit=1)
    first = page.fns[max(page.fns)]
    assert (first.fn, first.targets) == (None, [(box._id, "change")])
    for event, begun_by in ((one, first._id), (two, first._id), (after, one["id"]), (alone, None)):
        assert page.fns[event["id"]].trigger_after == begun_by
    assert page.fns[alone["id"]].targets == [(box._id, "submit")]
    assert page.fns[one["id"]].trigger_mode == "always_last"

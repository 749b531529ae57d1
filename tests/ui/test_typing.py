"""What somebody types or moves while the server answers: it stands, and the page comes to rest. Under each gradio."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import Page, Request, Route, expect

from lib_lora.formats.lora import LoraFile, write_lora
from tests.ui.browser import PATIENCE_MS, Studio, Visitor, open_tab, running_studio, settle
from tests.ui.walking import Walker, visit

pytestmark = pytest.mark.each_gradio

KEPT = {
    "generate.prompt": "a cat",
    "generate.negative": "blurry",
    "generate.seed": 7,
    "generate.batch": 3,
    "generate.steps": 11,
    "generate.cfg": 5.5,
    "generate.clip_skip": 2,
    "analyzer.gain": 4.5,
    "analyzer.threshold": 35,
    "analyzer.seeds": 2,
    "analyzer.rows": True,
    "analyzer.also": ["1,0"],
    "train.trigger": "krnk",
    "train.kind": "style",
}
"""What was remembered before the studio starts, each unlike what its widget begins with."""
ASKS = re.compile(r"/((run|api)/predict|queue/join)/?(\?|$)")
"""Where a page calls the server, under any gradio; under 3 its queue is a websocket, which goes on."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, lora: LoraFile) -> Iterator[Studio]:
    data = tmp_path_factory.mktemp("typing") / "data"
    (data / "loras").mkdir(parents=True)
    write_lora(lora, data / "loras" / "plain.safetensors")
    (data / "settings.json").write_text(json.dumps(KEPT), encoding="utf-8")
    with running_studio(data) as running:
        yield running


def opened_slowly(visitor: Visitor, url: str) -> tuple[Page, Callable[[], None]]:
    """Open the studio while what its page asks the server is held back; return the page and what lets it go."""
    page = visitor.browser.new_context(viewport={"width": 1280, "height": 1600}, locale="en-US").new_page()
    page.set_default_timeout(PATIENCE_MS)
    held: list[Route] = []
    page.route(ASKS, lambda route: held.append(route))
    page.goto(url)
    settle(page)

    def let_go() -> None:
        assert held
        page.route(ASKS, lambda route: route.continue_())  # the newest rule is the one that is asked
        for route in held:
            route.continue_()

    return page, let_go


def test_what_was_typed_stays_and_everything_else_comes_back(server: Studio, visitor: Visitor) -> None:
    page, let_go = opened_slowly(visitor, server.url)
    walker = Walker(page, "en")
    walker.box("generate_prompt").press_sequentially("a dog")
    let_go()
    expect(walker.box("generate_negative")).to_have_value(KEPT["generate.negative"])
    walker.box("generate_prompt").press_sequentially(" asleep")
    for name in ("generate_more", "generate_bw_accordion", "generate_analyzer"):
        walker.open(name)
    page.get_by_text(walker.words("block_weight.how_shown")).click()
    for name in ("seed", "batch", "steps", "cfg_scale", "clip_skip"):
        expect(walker.box(f"generate_{name}")).to_have_value(str(KEPT[f"generate.{name.removesuffix('_scale')}"]))
    for name in ("gain", "threshold", "seeds"):
        expect(walker.box(f"generate_analyzer_{name}")).to_have_value(str(KEPT[f"analyzer.{name}"]))
    expect(walker.at("generate_analyzer_rows").locator("input")).to_be_checked()
    expect(walker.at("generate_analyzer_also").locator("input:checked")).to_have_count(1)
    open_tab(page, "train")
    expect(walker.box("train_trigger")).to_have_value(KEPT["train.trigger"])
    expect(walker.at("train_kind").locator("input:checked")).to_have_value(KEPT["train.kind"])
    open_tab(page, "generate")
    expect(walker.box("generate_prompt")).to_have_value("a dog asleep")


def test_presets_are_not_typed_over_before_they_are_there(server: Studio, visitor: Visitor) -> None:
    page, let_go = opened_slowly(visitor, server.url)
    walker = Walker(page, "en")
    walker.open("generate_bw_accordion")
    walker.open("generate_presets")
    text = walker.box("generate_presets_text")
    expect(text).not_to_be_editable()
    let_go()
    expect(text).to_be_editable()
    expect(text).to_have_value(re.compile("FACE:"))


def test_quick_typing_comes_to_rest(server: Studio, visitor: Visitor) -> None:
    walker = visit(visitor, server.url, "en")
    walker.type("generate_prompt", "")
    asked: list[str] = []

    def hear(request: Request) -> None:
        if request.method == "POST":
            asked.append(request.post_data or "")

    walker.page.on("request", hear)
    walker.box("generate_prompt").press_sequentially("a red apple on the old table", delay=15)
    walker.page.wait_for_timeout(1500)
    expect(walker.box("generate_prompt")).to_have_value("a red apple on the old table")
    asked.clear()
    walker.page.wait_for_timeout(1500)
    assert asked == []


def test_every_move_of_a_slider_reaches_the_prompt(server: Studio, visitor: Visitor) -> None:
    walker = visit(visitor, server.url, "en")
    walker.type("generate_prompt", "a face <lora:plain:1:FACE>")
    walker.open("generate_bw_accordion")
    expect(walker.at("generate_bw_preset").locator("input").first).to_have_value("FACE")
    row = walker.at("generate_bw_row")
    for turn, block in enumerate(("IN01", "IN04", "M00", "OUT03", "IN04")):
        row.locator(f"[data-block={block}] input[type=number]").fill(f"0.{turn + 1}")
        row.locator(f"[data-block={block}] input[type=number]").press("Tab")
        walker.prompt_reads(rf"^a face <lora:plain:1:lbw=[-\d.,]*0\.{turn + 1}[-\d.,]*>$")
    for turn in range(1, 4):
        row.locator("[data-block=OUT05] input[type=range]").press("ArrowDown")
        walker.prompt_reads(rf"lbw=[-\d.,]*,0?\.?{'0' if turn else ''}[-\d.,]*>")


def test_a_slider_moved_before_its_row_was_painted_is_not_lost(server: Studio, visitor: Visitor) -> None:
    walker = visit(visitor, server.url, "en")
    walker.type("generate_prompt", "")  # what the page remembers has a row of its own, which would be moved instead
    walker.open("generate_bw_accordion")
    expect(walker.at("generate_bw_row").locator("[data-block=IN04]")).to_have_count(0)
    # Whoever is quicker than the page's look at the row: it is moved in the moment in which it appears.
    walker.page.evaluate(
        """() => new MutationObserver((changes, observer) => {
            const input = document.querySelector('#atelier_generate_bw_row [data-block=IN04] input[type=range]');
            if (!input) return;
            observer.disconnect();
            input.value = 0.35;
            for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind, { bubbles: true }));
        }).observe(document.body, { childList: true, subtree: true })"""
    )
    walker.type("generate_prompt", "a face <lora:plain:1:FACE>")
    walker.prompt_reads(r"^a face <lora:plain:1:lbw=[-\d.,]*0\.35[-\d.,]*>$")


def test_a_preset_text_is_checked_when_it_was_pasted_or_shortened(server: Studio, visitor: Visitor) -> None:
    walker = visit(visitor, server.url, "en")
    walker.open("generate_bw_accordion")
    walker.open("generate_presets")
    text = walker.box("generate_presets_text")
    expect(text).to_have_value(re.compile("FACE:"))
    text.press("ControlOrMeta+End")
    walker.page.keyboard.insert_text("\nBAD:1,2")
    walker.reads("generate_presets_message", "BAD")
    for _ in "\nBAD:1,2":
        text.press("Backspace")
    expect(walker.at("generate_presets_message")).not_to_contain_text("BAD")

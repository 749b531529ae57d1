"""Our panels in a real WebUI's page, clicked in Chromium: accordion, analyzer, presets, tabs, both languages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.webui.live import LiveHost

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PATIENCE = 60_000
LONG = 240_000
HOSTS_OWN = "reading 'props'"  # two errors of the host's page without any extension

Open = Callable[..., Any]


def tab(page: Page, title: str) -> None:
    """Open one of the host's tabs; Forge writes some of them with a capital letter."""
    named = re.compile(rf"^\s*{re.escape(title)}\s*$", re.IGNORECASE)
    page.locator("#tabs > .tab-nav button").filter(has_text=named).click()
    page.wait_for_timeout(400)


def unfold(page: Page, ident: str) -> None:
    """Open an accordion that is closed."""
    head = page.locator(f"#{ident} .label-wrap").first
    if "open" not in (head.get_attribute("class") or "").split():
        head.click()
        page.wait_for_timeout(400)


def set_number(page: Page, ident: str, value: float) -> None:
    page.evaluate(
        "([id, value]) => { const e = gradioApp().querySelector(`#${id} input[type=number]`);"
        "e.value = value; e.dispatchEvent(new Event('input', { bubbles: true })); }",
        [ident, value],
    )


def small(page: Page, place: str = "txt2img", steps: int = 2) -> None:
    """Make the host's picture a small one."""
    for ident, value in (("steps", steps), ("width", 128), ("height", 128)):
        set_number(page, f"{place}_{ident}", value)


def write(page: Page, prompt: str, place: str = "txt2img") -> None:
    """Write a prompt and open our accordion."""
    page.locator(f"#{place}_prompt textarea").fill(prompt)
    unfold(page, f"atelier_{place}_bw_accordion")


def prompt_of(page: Page, place: str = "txt2img") -> str:
    return page.locator(f"#{place}_prompt textarea").input_value()


def expect_text(place: Locator, pattern: str, timeout: float = PATIENCE) -> str:
    """Wait until a place's text has a pattern, and return the text."""
    from playwright.sync_api import expect

    expect(place).to_have_text(re.compile(pattern, re.DOTALL), timeout=timeout)
    return place.inner_text()


def said(page: Page, ident: str) -> Locator:
    """Return the place of a text; gradio 3 gives its id to the frame around it, too."""
    return page.locator(f"#{ident}").last


def closed_line(page: Page, place: str = "txt2img") -> Locator:
    """Return the line that the closed accordion shows."""
    return page.locator(f"#atelier_{place}_bw_accordion .label-wrap").first


def lines_of(page: Page, ident: str) -> int:
    """Return in how many lines a field's label stands."""
    return page.evaluate(
        "id => { const range = document.createRange();"
        "range.selectNodeContents(gradioApp().querySelector(`#${id} label span`));"
        "return new Set([...range.getClientRects()].map((one) => Math.round(one.top))).size; }",
        ident,
    )


def sideways(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def complaints(page: Any) -> list[str]:
    return [each for each in page.complaints if HOSTS_OWN not in each]


def test_accordion_has_a_slider_for_each_block_of_the_file_and_says_what_is_active(open_page: Open) -> None:
    page = open_page()
    write(page, "a red apple <lora:plain:1:FACE> <lora:locon:0.5>")
    expect_text(closed_line(page), r"plain: FACE · locon: all 1")
    row = page.locator("#atelier_txt2img_bw_row .atelier-blocks")
    row.wait_for()
    assert row.locator("input[type=range]").count() == 17
    assert row.locator("[data-block=IN01] input[type=range]").input_value() == "1"
    assert row.locator("[data-block=BASE] input[type=range]").input_value() == "0"
    page.locator("#txt2img_prompt textarea").fill("a red apple <lora:locon:0.5>")
    page.locator("#atelier_txt2img_bw_row [data-block=IN03]").wait_for()
    assert row.locator("input[type=range]").count() > 17
    page.locator("#txt2img_prompt textarea").fill("a red apple <lora:nobody:1>")
    expect_text(said(page, "atelier_txt2img_bw_message"), "nobody")
    assert complaints(page) == []
    assert sideways(page) == 0


def test_a_moved_slider_writes_the_tag_and_generate_uses_it(open_page: Open, webui: LiveHost) -> None:
    page = open_page()
    small(page)
    write(page, "a red apple <lora:plain:1:FACE>")
    slider = page.locator("#atelier_txt2img_bw_row [data-block=IN04] input[type=range]")
    slider.wait_for()
    slider.fill("0.3")
    slider.dispatch_event("change")
    page.wait_for_function(
        "gradioApp().querySelector('#txt2img_prompt textarea').value.includes('lbw=0,1,1,0.3,')", timeout=PATIENCE
    )
    page.locator("#txt2img_generate").click()
    text = expect_text(said(page, "html_info_txt2img"), "Steps: 2", LONG)
    assert "LoRA block weights" in text
    page.locator("#atelier_txt2img_bw_active input").click()
    expect_text(closed_line(page), "off")
    page.wait_for_timeout(300)
    page.locator("#txt2img_generate").click()
    told = said(page, "html_info_txt2img")
    assert "<lora:plain" in expect_text(told, "^(?!.*LoRA block weights).*Steps: 2", LONG)


def test_a_preset_is_saved_used_and_offered_in_the_other_tab(open_page: Open, data_of: Path) -> None:
    page = open_page()
    write(page, "<lora:plain:1:FACE>")
    page.locator("#atelier_txt2img_bw_row .atelier-blocks").wait_for()
    page.locator("#atelier_txt2img_bw_save_as").click()
    page.locator("#atelier_txt2img_bw_save_name textarea, #atelier_txt2img_bw_save_name input").fill("LIVEFACE")
    page.locator("#atelier_txt2img_bw_save").click()
    page.wait_for_function(
        "gradioApp().querySelector('#txt2img_prompt textarea').value.includes('lbw=LIVEFACE')", timeout=PATIENCE
    )
    assert "LIVEFACE:0,1,1,1" in (data_of / "lbwpresets.txt").read_text(encoding="utf-8")
    # The editor was opened before; saving it must not take away what was saved meanwhile.
    unfold(page, "atelier_txt2img_presets")
    editor = page.locator("#atelier_txt2img_presets_text textarea")
    assert "LIVEFACE" not in editor.input_value()
    editor.fill(editor.input_value() + "EDITED:" + ",".join(["1"] * 17) + "\n")
    expect_text(said(page, "atelier_txt2img_presets_message"), "every line is fine")
    page.locator("#atelier_txt2img_presets_save").click()
    expect_text(said(page, "atelier_txt2img_presets_message"), "presets saved")
    saved = (data_of / "lbwpresets.txt").read_text(encoding="utf-8")
    assert "EDITED:" in saved
    assert "LIVEFACE:" in saved
    assert [path for path in data_of.iterdir() if path.name.startswith("lbwpresets") and path.suffix != ".txt"]
    tab(page, "img2img")
    write(page, "<lora:plain:1:EDITED>", "img2img")
    expect_text(closed_line(page, "img2img"), "plain: EDITED")


def test_made_weights_become_a_preset_without_any_lora(open_page: Open, data_of: Path) -> None:
    page = open_page()
    unfold(page, "atelier_txt2img_bw_accordion")
    unfold(page, "atelier_txt2img_make")
    slider = page.locator("#atelier_txt2img_make_bw_row [data-block=OUT11] input[type=range]")
    slider.wait_for()
    page.wait_for_timeout(500)
    slider.fill("0.25")
    slider.dispatch_event("change")
    page.locator("#atelier_txt2img_make_bw_name textarea, #atelier_txt2img_make_bw_name input").fill("MADE26")
    page.wait_for_timeout(300)
    page.locator("#atelier_txt2img_make_bw_save").click()
    expect_text(said(page, "atelier_txt2img_make_bw_message"), "MADE26")
    line = next(one for one in (data_of / "lbwpresets.txt").read_text("utf-8").splitlines() if "MADE26" in one)
    assert line == "MADE26:" + ",".join(["1"] * 25 + ["0.25"])


def test_analyzer_runs_grows_and_keeps_what_is_there_when_stopped(open_page: Open, webui: LiveHost) -> None:
    page = open_page()
    small(page)
    write(page, "a red apple <lora:plain:1>")
    unfold(page, "atelier_txt2img_analyzer")
    expect_text(said(page, "atelier_txt2img_analyzer_estimate"), "18|19|20")
    page.locator("#atelier_txt2img_analyzer_start").click()
    page.locator("#atelier_txt2img_analyzer_grids img").first.wait_for(timeout=LONG)
    page.locator("#atelier_txt2img_analyzer_stop").click()
    assert "Stopped" in expect_text(said(page, "atelier_txt2img_analyzer_status"), "Noise floor", LONG)
    assert page.locator("#atelier_txt2img_analyzer_grids img").count() == 1
    set_number(page, "txt2img_steps", 1)
    blocks = page.locator("#atelier_txt2img_analyzer_blocks input").first
    blocks.fill("M00, OUT03-OUT04")
    blocks.press("Enter")
    expect_text(said(page, "atelier_txt2img_analyzer_estimate"), "About 4 ")
    page.locator("#atelier_txt2img_analyzer_start").click()
    expect_text(said(page, "atelier_txt2img_analyzer_status"), "Finished", LONG)
    saved = sorted((webui.data / "outputs" / "lora-atelier" / "analysis").glob("*/grid_*.png"))
    assert saved
    assert Image.open(saved[-1]).width > 200
    assert complaints(page) == []


def test_analyzer_in_img2img_begins_with_the_picture_there(open_page: Open, webui: LiveHost, tmp_path: Path) -> None:
    page = open_page()
    tab(page, "img2img")
    small(page, "img2img")
    write(page, "a red apple <lora:plain:1>", "img2img")
    unfold(page, "atelier_img2img_analyzer")
    blocks = page.locator("#atelier_img2img_analyzer_blocks input").first
    blocks.fill("M00")
    blocks.press("Enter")
    expect_text(said(page, "atelier_img2img_analyzer_estimate"), "About 3 ")
    page.locator("#atelier_img2img_analyzer_start").click()
    expect_text(said(page, "atelier_img2img_analyzer_status"), "no picture to begin with")
    picture = tmp_path / "start.png"
    Image.new("RGB", (128, 128), (200, 30, 30)).save(picture)
    page.locator("#img2img_image input[type=file]").first.set_input_files(picture)
    page.wait_for_timeout(1500)
    page.locator("#atelier_img2img_analyzer_start").click()
    expect_text(said(page, "atelier_img2img_analyzer_status"), "Finished", LONG)


def test_use_in_prompt_goes_from_the_workshop_to_txt2img(open_page: Open) -> None:
    page = open_page()
    tab(page, "LoRA Workshop")
    file = page.locator("#atelier_workshop_file input").first
    file.click()
    page.locator("ul.options li", has_text=re.compile(r"^\W*plain\s*$")).first.click()
    page.locator("#atelier_workshop_blocks_table table").wait_for(timeout=PATIENCE)
    assert sideways(page) == 0
    page.locator("#atelier_workshop_blocks_use").click()
    page.wait_for_function(
        "gradioApp().querySelector('#txt2img_prompt textarea').value.includes('<lora:plain:')", timeout=PATIENCE
    )
    page.locator("#txt2img_generate").wait_for(state="visible")
    for inner in ("Merge", "Metadata"):
        tab(page, "LoRA Workshop")
        page.locator("#atelier_workshop_tabs .tab-nav button").get_by_text(inner, exact=True).click()
        page.wait_for_timeout(300)
        assert sideways(page) == 0
    assert complaints(page) == []


def test_train_tab_plans_on_the_hosts_model(open_page: Open, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (128, 128), (60 * number, 90, 120)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("krnk, red", encoding="utf-8")
    page = open_page(dark=True)
    tab(page, "LoRA Train")
    folder = page.locator("#atelier_train_folder textarea, #atelier_train_folder input").first
    folder.fill(str(tmp_path))
    page.locator("#atelier_train_look").click()
    expect_text(said(page, "atelier_train_summary"), "3", LONG)
    expect_text(said(page, "atelier_train_plan"), "steps", LONG)
    assert sideways(page) == 0
    assert complaints(page) == []


def test_reload_ui_comes_back_after_a_page_was_closed_in_an_analysis(open_page: Open, webui: LiveHost) -> None:
    page = open_page()
    small(page, steps=6)
    write(page, "a red apple <lora:plain:1>")
    unfold(page, "atelier_txt2img_analyzer")
    page.locator("#atelier_txt2img_analyzer_start").click()
    expect_text(said(page, "atelier_txt2img_analyzer_status"), "[1-9]\\d* / ", LONG)
    page.context.close()
    webui.reload_ui()
    page = open_page()
    write(page, "a red apple <lora:plain:1:FACE>")
    expect_text(closed_line(page), "plain: FACE")


@pytest.fixture
def japanese(webui: LiveHost) -> Iterator[None]:
    """The host in Japanese, with its page built anew; afterwards in English again."""
    webui.set_options(localization="ja_JP")
    webui.reload_ui()
    yield
    webui.set_options(localization="None")
    webui.reload_ui()


@pytest.mark.usefixtures("japanese")
def test_after_reload_ui_everything_speaks_japanese_and_works(open_page: Open) -> None:
    page = open_page(dark=True)
    titles = page.locator("#tabs > .tab-nav button").all_inner_texts()
    assert {"LoRA 学習", "LoRA 工房"} <= {title.strip() for title in titles}
    small(page)
    write(page, "a red apple <lora:plain:1:FACE>")
    expect_text(closed_line(page), "LoRA 階層別ウェイト.*plain: FACE")
    assert page.locator("#atelier_txt2img_bw_row input[type=range]").count() == 17
    assert page.locator("#atelier_txt2img_bw_te label span").first.inner_text().strip() == "テキストエンコーダー"
    assert lines_of(page, "atelier_txt2img_bw_te") == 1
    page.locator("#txt2img_generate").click()
    assert "LoRA block weights" in expect_text(said(page, "html_info_txt2img"), "Steps: 2", LONG)
    tab(page, "LoRA 学習")
    expect_text(said(page, "atelier_train_plan"), "[ぁ-ん]")
    assert sideways(page) == 0
    assert complaints(page) == []

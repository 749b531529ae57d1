"""*Try 30 steps* and *Compare values* in the running host: its model, its queue, its buttons, its page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.webui.answers import Refused
from tests.webui.conftest import EXTENSION_DATA, prepared_host
from tests.webui.live import LiveHost
from tests.webui.proxy import below
from tests.webui.test_panels_live import LONG, complaints, expect_text, said, sideways, tab, unfold
from tests.webui.test_training_live import clean, ended, picture, row

if TYPE_CHECKING:
    from playwright.sync_api import Page

USUAL = {"trigger": "zzcircle", "dim": 4, "resolution": 64, "batch_size": 1, "optimizer": "AdamW"}
USUAL |= {"learning_rate": 1e-3, "text_encoder_ratio": 0, "sample_prompts": [], "save_every_epochs": 0}
PROMPT = "zzcircle --s 2 --w 64 --h 64"


@pytest.fixture
def sweep(webui: LiveHost, circles: Path) -> Callable[..., Any]:
    """Start a sweep of two runs over REST."""

    def start(name: str, *, host: LiveHost | None = None, steps: int = 8, **more: Any) -> Any:
        options = {**USUAL, "images": str(circles), "name": name, "steps": steps, **more}
        body = {"options": options, "values": {"dim": [1, 2]}, "prompt": PROMPT}
        return (host or webui).post("/lora-atelier/v1/sweeps", body)

    return start


@pytest.fixture
def probe(webui: LiveHost, circles: Path) -> Callable[..., int]:
    """Start a probe over REST and return the number of its job."""

    def start(name: str, **more: Any) -> int:
        options = {**USUAL, "images": str(circles), "name": name, "steps": 20, **more}
        return webui.post("/lora-atelier/v1/train/probe", {"options": options})["job"]

    return start


def job(webui: LiveHost, number: int) -> dict[str, Any]:
    return webui.get(f"/lora-atelier/v1/jobs/{number}")


def job_over(webui: LiveHost, number: int) -> dict[str, Any]:
    over = ("done", "failed", "stopped")
    webui.wait(lambda: job(webui, number)["state"] in over, timeout=600, what="the job")
    return job(webui, number)


def found(webui: LiveHost, name: str) -> dict[str, Any]:
    return webui.get(f"/lora-atelier/v1/sweeps/{name}")


def compared(webui: LiveHost, name: str) -> dict[str, Any]:
    """Wait for the comparison that follows by itself, and return the sweep."""
    webui.wait(lambda: found(webui, name)["comparison"], timeout=900, what="the comparison")
    return found(webui, name)


def test_a_probe_leaves_nothing_but_its_result(webui: LiveHost, probe: Callable[..., int]) -> None:
    before, listed = clean(webui), webui.refresh_loras()
    number = probe("live_probe")
    assert job_over(webui, number)["error"] is None
    result = webui.get(f"/lora-atelier/v1/jobs/{number}/result")["result"]
    assert len(result["rates"]) == len(result["losses"]) >= 5
    assert result["seconds_a_step"] > 0
    assert clean(webui) == before
    assert webui.refresh_loras() == listed
    assert "live_probe" not in [one["name"] for one in webui.get("/lora-atelier/v1/train")["past"]]


def test_the_hosts_interrupt_stops_a_probe_and_a_picture_waits(webui: LiveHost, probe: Callable[..., int]) -> None:
    before = clean(webui)
    number = probe("live_probe_stop", batch_size=4)
    webui.wait(lambda: job(webui, number)["done"] >= 1, timeout=300, what="a step")
    assert webui.get("/sdapi/v1/progress?skip_current_image=true")["state"]["job"] == "LoRA Atelier: live_probe_stop"
    webui.post("/sdapi/v1/interrupt")
    assert job_over(webui, number)["state"] == "stopped"
    with pytest.raises(Refused, match="no result|stopped"):
        webui.get(f"/lora-atelier/v1/jobs/{number}/result")
    assert clean(webui) == before
    number = probe("live_probe_go")
    assert picture(webui) == before[0]
    assert job_over(webui, number)["error"] is None


def test_a_sweep_is_drawn_by_the_host_which_is_as_it_was(webui: LiveHost, sweep: Callable[..., Any]) -> None:
    before = clean(webui)
    sweep("live_sweep", save_every_epochs=1, epochs=2, learning_rate=1e-2)
    assert picture(webui) == before[0]  # whoever wants a picture gets it between two steps or two runs
    kept = compared(webui, "live_sweep")
    shown = kept["comparison"]
    assert [one["state"] for one in shown["runs"]] == ["done", "done"]
    assert all(one["steady"] is not None and one["remark"] is None for one in shown["runs"])
    assert isinstance(shown["verdict"], str)
    assert sum(one["best"] for one in shown["runs"]) == (not shown["verdict"].startswith("no run is marked"))
    assert clean(webui) == before

    folder = webui.data / EXTENSION_DATA / "runs" / "live_sweep"
    order = {"steps": 2, "width": 64, "height": 64}
    pictures = [Image.open(folder / one["picture"]) for one in (shown["without_lora"], *shown["runs"])]
    assert len({one.convert("RGB").tobytes() for one in pictures}) == 3
    assert "<lora:live_sweep_dim1:1>" in pictures[1].info["parameters"]
    assert pictures[0].size == webui.txt2img(prompt="zzcircle", **order).image.size
    for name in ("comparison.png", "comparison.ja.png", "comparison.csv"):
        assert (folder / name).is_file()
    assert "live_sweep_dim2" in [one["name"] for one in webui.get("/sdapi/v1/loras")]


def test_interrupt_ends_one_run_of_a_sweep_and_the_next_begins(webui: LiveHost, sweep: Callable[..., Any]) -> None:
    before = clean(webui)
    sweep("live_part", steps=5000)
    webui.wait(lambda: row(webui, "live_part_dim1")["step"] >= 2, timeout=300, what="two steps")
    webui.post("/sdapi/v1/interrupt")
    webui.wait(lambda: ended(webui, "live_part_dim1"), timeout=300, what="the end of the first")
    webui.wait(lambda: row(webui, "live_part_dim2")["step"] >= 1, timeout=300, what="the second to begin")
    assert picture(webui) == before[0]
    webui.post("/lora-atelier/v1/sweeps/live_part/stop")
    webui.wait(lambda: ended(webui, "live_part_dim2"), timeout=300, what="the end of the second")
    assert [one["state"] for one in found(webui, "live_part")["runs"]] == ["stopped", "stopped"]
    assert found(webui, "live_part")["comparison"] is None
    assert clean(webui) == before


def test_reload_ui_in_the_middle_loses_no_run(webui: LiveHost, sweep: Callable[..., Any]) -> None:
    sweep("live_reload", steps=40)
    webui.wait(lambda: row(webui, "live_reload_dim1")["step"] >= 2, timeout=300, what="two steps")
    webui.reload_ui()
    shown = compared(webui, "live_reload")["comparison"]
    assert [(one["state"], one["steps"], bool(one["picture"])) for one in shown["runs"]] == [("done", 40, True)] * 2


@pytest.fixture
def japanese(webui: LiveHost) -> Iterator[None]:
    """The host in Japanese, with its page built anew; afterwards in English again."""
    webui.set_options(localization="ja_JP")
    webui.reload_ui()
    yield
    webui.set_options(localization="None")
    webui.reload_ui()


def fill(page: Page, ident: str, text: str) -> None:
    place = page.locator(f"#{ident} textarea, #{ident} input").first
    place.fill(text)
    place.press("Tab")
    page.wait_for_timeout(500)


@pytest.mark.usefixtures("japanese")
def test_both_are_clicked_in_the_japanese_page(open_page: Callable[..., Page], webui: LiveHost, circles: Path) -> None:
    page = open_page()
    tab(page, "LoRA 学習")
    fill(page, "atelier_train_folder", str(circles))
    page.locator("#atelier_train_look").click()
    expect_text(said(page, "atelier_train_summary"), "4", LONG)
    fill(page, "atelier_train_trigger", "zzcircle")
    fill(page, "atelier_train_name", "live_click")
    fill(page, "atelier_train_steps", "2")
    page.locator("#atelier_train_probe").click()
    stop = page.locator("#atelier_train_probed button", has_text="停止").first
    stop.wait_for(timeout=LONG)
    stop.click()
    expect_text(said(page, "atelier_train_probed"), "停止しました", LONG)
    unfold(page, "atelier_train_sweep")
    fill(page, "atelier_train_sweep_table", "dim: 1, 2\nresolution: 64")
    fill(page, "atelier_train_sweep_prompt", PROMPT)
    page.locator("#atelier_train_sweep_start").click()
    expect_text(said(page, "atelier_train_sweep_message"), "live_click")
    compared(webui, "live_click")
    page.wait_for_function("gradioApp().querySelector('#atelier_train_sweeps img')?.naturalWidth > 0", timeout=LONG)
    assert "comparison.ja.png" in page.locator("#atelier_train_sweeps img").first.get_attribute("src")
    expect_text(said(page, "atelier_train_sweeps"), "最良")
    assert sideways(page) == 0
    assert complaints(page) == []


def test_below_an_address_of_its_own_the_page_shows_the_grid(
    webui: LiveHost, sweep: Callable[..., Any], tmp_path: Path, open_page_of: Callable[..., Page]
) -> None:
    assert webui.alive  # one host at a time costs less; this one is only where skips and Python come from
    with prepared_host(tmp_path / "data", "--subpath", "team/sd").running() as host:
        sweep("live_below", host=host, steps=1)
        shown = compared(host, "live_below")
        assert shown["files"]["picture"].startswith("/team/sd/lora-atelier/v1/files/")
        with below("team/sd", urlsplit(host.url).port) as address:
            page = open_page_of(host, address=address)
            tab(page, "LoRA Train")
            unfold(page, "atelier_train_sweep")
            page.wait_for_function(
                "gradioApp().querySelector('#atelier_train_sweeps img')?.naturalWidth > 0", timeout=LONG
            )
            assert complaints(page) == []

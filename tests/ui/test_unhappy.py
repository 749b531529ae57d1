"""What goes wrong, clicked in both languages: every message is words for a person, and nothing is lost."""

from __future__ import annotations

import re
import signal

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.formats.lora import write_lora
from tests.ui.browser import open_tab, running_studio, settle, start_studio
from tests.ui.walking import PICTURES, Walker, arrive, visit

LANGUAGES = pytest.mark.parametrize("language", ["en", "ja"])

MOVING = re.compile(r" [1-9]\d* / 3,000")
"""What a run says once it has made a step."""


@pytest.fixture(autouse=True)
def _no_traceback(request):
    """Nothing of Python's reaches the terminal either."""
    yield
    if "studio_server" in request.fixturenames:
        assert "Traceback" not in request.getfixturevalue("studio_server").said


@pytest.fixture(scope="module")
def girl(studio_server, lora) -> str:
    """A LoRA that lies in the studio's folder."""
    write_lora(lora, studio_server.data / "loras" / "girl.safetensors")
    return "girl"


@LANGUAGES
def test_a_folder_without_pictures_is_said_in_words(studio_server, visitor, language, tmp_path):
    walker = visit(visitor, studio_server.url, language, tab="train")
    walker.type("train_folder", "")
    walker.press("train_look")
    walker.said("train_intake_message")
    walker.press("train_train")
    walker.said("train_message")
    for place in (tmp_path, tmp_path / "nowhere"):
        walker.type("train_folder", str(place))
        walker.press("train_look")
        expect(walker.at("train_intake_message")).to_contain_text(place.name)
        walker.said("train_intake_message")


@LANGUAGES
def test_a_broken_picture_is_named_and_the_others_are_taken(studio_server, visitor, language, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(PICTURES[0].read_bytes()[:200])
    walker = visit(visitor, studio_server.url, language, tab="train")
    walker.type("train_folder", "")
    walker.drop_pictures([broken, PICTURES[0]])
    walker.reads("train_summary", walker.words("train.n_found", n=1))
    walker.reads("train_dropped", "broken.png")
    walker.check_words(walker.at("train_dropped").inner_text())
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in (broken, PICTURES[1]):
        (folder / path.name).write_bytes(path.read_bytes())
    walker.type("train_folder", str(folder))
    walker.press("train_look")
    walker.reads("train_summary", walker.words("train.n_problems", n=1))
    walker.reads("train_summary", "broken.png")
    walker.check_words(walker.at("train_summary").inner_text())


@LANGUAGES
def test_an_unknown_preset_and_an_unknown_lora(studio_server, visitor, language, girl):
    walker = visit(visitor, studio_server.url, language)
    walker.open("generate_bw_accordion")
    walker.type("generate_prompt", f"<lora:{girl}:1:NOSUCH>")
    walker.reads("generate_bw_message", "NOSUCH")
    walker.said("generate_bw_message")
    walker.press("generate_go")
    walker.reads("generate_status", "NOSUCH")
    walker.said("generate_status")
    walker.type("generate_prompt", "<lora:nobody:1>")
    walker.press("generate_go")
    walker.reads("generate_status", "nobody")
    walker.said("generate_status")


@LANGUAGES
def test_an_existing_name(studio_server, visitor, language, girl):
    walker = visit(visitor, studio_server.url, language, tab="train")
    walker.type("train_folder", "")
    walker.drop_pictures(PICTURES)
    walker.reads("train_summary", walker.words("train.n_found", n=6))
    walker.type("train_name", girl)
    walker.press("train_train")
    walker.reads("train_message", girl)
    walker.said("train_message")
    open_tab(walker.page, "workshop")
    walker.bench("merge")
    walker.choose("workshop_row1", girl)
    expect(walker.box("workshop_name")).to_have_value(re.compile(girl))
    walker.type("workshop_name", girl)
    walker.press("workshop_save")
    walker.reads("workshop_merge_message", girl)
    walker.said("workshop_merge_message")


def test_a_server_that_was_killed_and_two_tabs(visitor, tmp_path):
    data, language = tmp_path / "data", "ja"
    first = start_studio(data)
    try:
        one = visit(visitor, first.url, language, tab="train")
        expect(one.page.locator(".atelier-lost")).to_be_hidden()
        name = start_a_long_run(one)
        two = arrive(one.page.context.new_page(), first.url, language, tab="train")
        for walker in (one, two):
            walker.reads("train_run", name)
            expect(walker.at(f"train_pause_{name}")).to_be_visible()
    finally:
        first.stop(signal.SIGKILL)
    said = one.page.locator(".atelier-lost")
    expect(said).to_be_visible()
    one.check_words(said.inner_text())
    with running_studio(data, port=int(first.url.rstrip("/").rpartition(":")[2])):
        expect(said).to_contain_text(one.words("app.restarted"))
        said.get_by_role("button").click()
        settle(one.page)
        expect(said).to_be_hidden()
        open_tab(one.page, "train")
        one.reads("train_run", one.words("train.state_interrupted"))
        one.press(f"train_resume_{name}")
        one.reads("train_run", MOVING)
        two.page.reload()
        open_tab(two.page, "train")
        two.press(f"train_stop_{name}")
        for walker in (one, two):
            walker.reads("train_run", walker.words("train.state_stopped"))
            expect(walker.at(f"train_use_{name}")).to_be_visible()
    visitor.complaints.clear()  # the browser complains of the server that was away


def start_a_long_run(walker: Walker) -> str:
    """Start a run that is not over before the test is; return its name once a few steps are made."""
    walker.drop_pictures(PICTURES)
    walker.reads("train_summary", walker.words("train.n_found", n=6))
    walker.type("train_trigger", "krnk")
    expect(walker.box("train_name")).to_have_value("krnk_v1")
    walker.type("train_steps", "3000")
    walker.draws_quickly("krnk")
    walker.press("train_train")
    walker.reads("train_message", walker.words("train.started", name="krnk_v1"))
    walker.reads("train_run", MOVING)
    return "krnk_v1"

"""The parts of the tab Merge as a person uses them, in Chromium, in both languages: smaller, parted, extracted."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.merge.rank_rule import RULES
from lib_lora.options import find
from lib_lora.services.portions import PruneOptions
from tests.conftest import random_lora
from tests.merge.test_extract import pair_of
from tests.ui.browser import open_tab, sideways
from tests.ui.walking import Walker, visit

NARROW = 820
"""Width in px of a small window beside another one."""


@pytest.fixture(params=["en", "ja"])
def walker(studio_server, visitor, model, request) -> Walker:
    """The tab Merge in one language; a LoRA and two checkpoints in the studio's folders."""
    folder = studio_server.data / "loras"
    if not (folder / "girl.safetensors").exists():
        write_lora(random_lora(model, rank=8, seed=1), folder / "girl.safetensors")
        (studio_server.data / "checkpoints").mkdir(exist_ok=True)
        pair_of(studio_server.data / "checkpoints", "sd1")
    made = visit(visitor, studio_server.url, request.param)
    open_tab(made.page, "workshop")
    made.bench("merge")
    return made


@pytest.mark.each_gradio
def test_a_file_is_made_smaller(studio_server, walker: Walker) -> None:
    words, name = walker.words, f"small_{walker.language}"
    walker.choose("workshop_row1", "girl")
    walker.at("workshop_method").get_by_label(words("workshop.method_compress")).check()
    walker.choose("workshop_rule", words.said(RULES["energy"].label))
    expect(walker.box("workshop_rule_value")).to_have_value("0.95")
    walker.choose("workshop_rule", words.said(RULES["rank"].label))
    walker.type("workshop_rule_value", "2")
    walker.press("workshop_preview")
    walker.reads("workshop_merge_message", words("workshop.previewed"))
    walker.reads("workshop_report", "8 → 2")
    walker.type("workshop_name", name)
    walker.press("workshop_save")
    walker.reads("workshop_merge_message", f"{name}.safetensors")
    walker.said("workshop_merge_message")
    lora = read_lora(studio_server.data / "loras" / f"{name}.safetensors")
    assert {adapter.rank for adapter in lora.adapters.values()} == {2}


def test_a_file_is_pruned_and_split(studio_server, walker: Walker) -> None:
    words, folder = walker.words, studio_server.data / "loras"
    walker.open("workshop_rewrite")
    walker.choose("workshop_rewrite_file", "girl")
    walker.at("workshop_rewrite_what").get_by_label(words("workshop.rewrite_prune")).check()
    expect(walker.at("workshop_rewrite_to")).to_be_hidden()
    walker.at("workshop_rewrite_text_encoders").get_by_label(
        words.said(find(PruneOptions, "text_encoders").label)
    ).check()
    walker.type("workshop_rewrite_name", f"unet_{walker.language}")
    walker.press("workshop_rewrite_save")
    walker.reads("workshop_rewrite_message", f"unet_{walker.language}.safetensors")
    walker.said("workshop_rewrite_message")
    assert "BASE" not in read_lora(folder / f"unet_{walker.language}.safetensors").blocks()
    walker.at("workshop_rewrite_what").get_by_label(words("workshop.rewrite_split")).check()
    expect(walker.at("workshop_rewrite_by")).to_be_visible()
    walker.type("workshop_rewrite_name", f"part_{walker.language}")
    walker.press("workshop_rewrite_save")
    walker.reads("workshop_rewrite_message", words("workshop.split_done", n=2, folder=str(folder)))
    walker.reads("workshop_rewrite_result", f"part_{walker.language}_text")
    parts = [read_lora(path) for path in sorted(folder.glob(f"part_{walker.language}_*.safetensors"))]
    assert sum(len(part.adapters) for part in parts) == len(read_lora(folder / "girl.safetensors").adapters)
    walker.press("workshop_rewrite_save")  # once more: the names are taken
    walker.said("workshop_rewrite_message")
    expect(walker.at("workshop_rewrite").get_by_label(words("workshop.replace"))).to_be_visible()


def test_a_lora_comes_out_of_a_checkpoint_and_goes_into_one(studio_server, walker: Walker) -> None:
    name = f"learned_{walker.language}"
    walker.open("workshop_extract_part")
    walker.choose("workshop_tuned", "tuned")
    walker.choose("workshop_original", "base")
    walker.type("workshop_extract_name", name)
    walker.press("workshop_extract")
    walker.reads("workshop_extract_message", f"{name}.safetensors")
    walker.said("workshop_extract_message")
    walker.reads("workshop_extract_report", "IN04")
    walker.choose("workshop_row1", name)  # the list has it now
    walker.open("workshop_into_part")
    walker.choose("workshop_checkpoint", "base")
    walker.type("workshop_into_name", f"whole_{walker.language}")
    walker.press("workshop_into")
    walker.reads("workshop_into_message", f"whole_{walker.language}.safetensors")
    walker.said("workshop_into_message")
    walker.reads("workshop_into_report", "SHA-256")
    assert (studio_server.data / "checkpoints" / f"whole_{walker.language}.safetensors").is_file()


@pytest.mark.parametrize("walker", ["en", "ja"], indirect=True)
def test_a_narrow_window_cuts_nothing_off(walker: Walker) -> None:
    walker.page.set_viewport_size({"width": NARROW, "height": 1600})
    walker.choose("workshop_row1", "girl")
    walker.at("workshop_method").get_by_label(walker.words("workshop.method_compress")).check()
    for part in ("workshop_into_part", "workshop_extract_part", "workshop_rewrite"):
        walker.open(part)
    walker.press("workshop_preview")
    walker.reads("workshop_merge_message", walker.words("workshop.previewed"))
    assert sideways(walker.page) == 0
    outside = walker.page.evaluate(
        "(width) => [...document.querySelectorAll('#atelier_workshop_tabs :is(button, input, textarea, table)')]"
        ".filter(one => one.offsetParent && one.getBoundingClientRect().right > width + 1)"
        ".map(one => one.outerHTML.slice(0, 120))",
        NARROW,
    )
    assert outside == []
    room = walker.at("workshop_rule").locator("input").first.evaluate("one => getComputedStyle(one).paddingRight")
    assert float(room.removesuffix("px")) > 16  # a long rule's name ends before the arrow

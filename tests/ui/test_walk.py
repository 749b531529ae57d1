"""The main path, clicked in both languages: pictures, training, block weights, analysis, baking, metadata."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.formats.header import read_header
from lib_lora.ui.train.options import KNOWN
from tests.ui.browser import open_tab, sideways
from tests.ui.walking import PICTURES, Walker, visit

BLOCKS = "IN04,M00,OUT03,OUT04,OUT05"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_from_pictures_to_a_shared_file(studio_server, visitor, language):
    walker = visit(visitor, studio_server.url, language, tab="train")
    trigger = f"krnk{language}"
    name = plan_a_run(walker, trigger)
    walker = train_and_come_back(walker, studio_server.url, name)
    weigh_blocks(walker, name)
    stop_an_analysis(walker)
    baked = bake(walker, name)
    shared = describe(walker, compress(walker, baked))
    metadata = read_header(studio_server.data / "loras" / f"{shared}.safetensors").metadata
    assert metadata["modelspec.title"] == "A face"
    use_the_baked_file(walker, baked)
    assert sideways(walker.page) == 0
    assert visitor.complaints == []


def plan_a_run(walker: Walker, trigger: str) -> str:
    """Drop pictures, name them, and order a few steps; return the run's name."""
    words = walker.words
    walker.type("train_folder", "")  # whoever was here before left theirs
    walker.drop_pictures(PICTURES)
    walker.reads("train_summary", words("train.n_found", n=6))
    walker.type("train_trigger", trigger)
    expect(walker.box("train_name")).to_have_value(f"{trigger}_v1")
    walker.type("train_steps", "20")
    walker.reads("train_plan", words("train.about_steps", n=20))
    walker.reads("train_changes", words.said(KNOWN["steps"].label))
    walker.draws_quickly(trigger)
    return f"{trigger}_v1"


def train_and_come_back(walker: Walker, url: str, name: str) -> Walker:
    """Start the run, leave in the middle, come back, and take its LoRA to Generate."""
    words = walker.words
    walker.press("train_train")
    walker.reads("train_message", words("train.started", name=name))
    expect(walker.at("train_samples").locator("img").first).to_be_visible()
    expect(walker.at(f"train_pause_{name}")).to_be_visible()
    walker = walker.again(url)
    open_tab(walker.page, "train")
    walker.reads("train_summary", words("train.n_found", n=6))  # the folder of before was looked at again
    walker.reads("train_run", name)
    walker.reads("train_run", words("train.state_done"))
    expect(walker.at("train_samples").locator("img")).to_have_count(5)  # before, at every fifth epoch, at the end
    expect(walker.at("train_run").locator("svg polyline").first).to_be_visible()
    walker.press(f"train_use_{name}")
    expect(walker.at("generate_go")).to_be_visible()
    walker.prompt_reads(f"<lora:{name}:1>")
    return walker


def weigh_blocks(walker: Walker, name: str) -> None:
    """Make a picture with a preset, then move one block's slider and see the tag follow."""
    walker.type("generate_prompt", f"a face <lora:{name}:1:FACE>")
    walker.generate()
    walker.open("generate_bw_accordion")
    expect(walker.at("generate_bw_preset").locator("input").first).to_have_value("FACE")
    slider = walker.at("generate_bw_row").locator("[data-block=IN04] input[type=range]")
    before = walker.box("generate_bw_vector").input_value().split(",")
    slider.focus()
    slider.press("ArrowDown")
    slider.press("ArrowDown")
    prompt = walker.prompt_reads(rf"a face <lora:{name}:1:lbw=[-\d.,]+>")
    after = re.search(r"<lora:[^:]+:1:lbw=([-\d.,]+)>", prompt).group(1).split(",")
    assert len([1 for one, other in zip(before, after, strict=True) if one != other]) == 1
    walker.reads("generate_bw_accordion", walker.words("block_weight.short_values", n=len(after)))


def stop_an_analysis(walker: Walker) -> None:
    """Analyze five blocks and stop as soon as the first is there; its part of the grid and the table stay."""
    walker.open("generate_analyzer")
    walker.choose("generate_analyzer_blocks", BLOCKS, own=True)
    walker.type("generate_steps", "20")
    walker.reads("generate_analyzer_estimate", re.compile(r"\d"))
    walker.press("generate_analyzer_start")
    grid = walker.at("generate_analyzer_grids").locator("img").first
    expect(grid).to_be_visible()
    walker.press("generate_analyzer_stop")
    stopped = walker.words("block_weight.stopped", floor="|", folder="").split("|")[0]
    walker.reads("generate_analyzer_status", stopped)
    expect(grid).to_be_visible()
    expect(grid).to_have_attribute("src", re.compile("/files/outputs/"))
    rows = walker.at("generate_analyzer_table").locator(":is(tr, [role=row])")
    rows = rows.filter(has_text=re.compile(r"(IN|M|OUT)\d\d"), visible=True)
    expect(rows.first).to_be_visible()
    assert 1 <= rows.count() < 5


def bake(walker: Walker, name: str) -> str:
    """Bake a preset into a file of its own; return its name."""
    open_tab(walker.page, "workshop")
    walker.choose("workshop_file", name)
    walker.reads("workshop_blocks_table", "OUT05")
    walker.choose("workshop_preset", "FACE")
    expect(walker.box("workshop_vector")).to_have_value(re.compile(r"\d,\d"))
    walker.press("workshop_blocks_bake")
    expect(walker.at("workshop_save")).to_be_visible()
    expect(walker.box("workshop_name")).to_have_value(re.compile(name))
    baked = walker.box("workshop_name").input_value()
    walker.press("workshop_save")
    walker.reads("workshop_merge_message", f"{baked}.safetensors")
    expect(walker.at("workshop_merge_message").locator(".atelier-good")).to_be_visible()
    return baked


def compress(walker: Walker, baked: str) -> str:
    """Compress the baked file, numbers first; return the new name."""
    walker.choose("workshop_row1", baked)
    expect(walker.box("workshop_name")).to_have_value(re.compile(rf"^{re.escape(baked)}_1"))
    walker.at("workshop_method").get_by_text(walker.words("workshop.method_compress")).click()
    expect(walker.box("workshop_name")).to_have_value(re.compile("_sv16$"))
    walker.press("workshop_preview")
    walker.reads("workshop_merge_message", walker.words("workshop.previewed"))
    small = walker.box("workshop_name").input_value()
    walker.press("workshop_save")
    walker.reads("workshop_merge_message", f"{small}.safetensors")
    return small


def describe(walker: Walker, name: str) -> str:
    """Write trigger words and a title into a copy; return its name."""
    walker.bench("metadata")
    walker.choose("workshop_meta_file", name)
    expect(walker.box("workshop_meta_copy")).to_have_value(f"{name}_edited")
    walker.type("workshop_meta_title", "A face")
    walker.type("workshop_meta_trigger_words", "krnk")
    walker.press("workshop_meta_preview")
    walker.reads("workshop_meta_changes", "A face")
    shared = walker.box("workshop_meta_copy").input_value()
    walker.press("workshop_meta_save")
    walker.reads("workshop_meta_result", f"{shared}.safetensors")
    return shared


def use_the_baked_file(walker: Walker, baked: str) -> None:
    """Insert the baked file from the list beside the prompt and make a picture with it."""
    open_tab(walker.page, "generate")
    walker.type("generate_prompt", "a face")
    walker.at("generate_loras").get_by_text(baked, exact=True).click()
    walker.prompt_reads(f"<lora:{re.escape(baked)}:1>")
    walker.generate()

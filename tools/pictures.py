"""Take the pictures of the studio that the docs show, anew, in both languages.

    .venv/bin/python -m tools.pictures --data DIR [--language ja] [--only merge --only metadata]

DIR keeps a studio's data for each language: its training (some minutes) is done once, and pictures of the other tabs
can be taken again and again. Close other work before: what is seen of seconds is measured.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, expect

from lib_lora.data.captions import read_caption
from lib_lora.data.tags import write_captions
from lib_lora.demo.settings import PICTURES, TRIGGER, lists
from lib_lora.ui.generate.try_it import HIDE
from lib_lora.ui.tour import AT, OVER
from tests.ui.browser import ROOT, Studio, open_browser, open_tab, running_studio
from tests.ui.walking import Walker, visit

IMAGES = ROOT / "docs" / "images"
RUN, STEPS = "krnk_v1", 240
SIZE = (1280, 1000)
MARGIN = 16
LONG = 3_600_000
"""Milliseconds that a training may take here."""
LARGEST = 300_000
"""Bytes that a picture of the docs may have."""


@dataclass
class Photographer:
    """A person who walks through the studio and takes pictures."""

    walker: Walker
    studio: Studio

    @property
    def language(self) -> str:
        """The language of the page."""
        return self.walker.language

    def take(self, name: str, *, of: str = "", until: str = "") -> None:
        """Save what is seen of the page; from the part ``of`` on, down to the end of the part ``until``."""
        page = self.walker.page
        page.mouse.move(0, 0)
        page.wait_for_timeout(700)
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        top = self._edge(of, "top") - MARGIN if of else 0
        bottom = self._edge(until, "bottom") + MARGIN if until else shot.height
        shot = shot.crop((0, max(0, top), shot.width, min(shot.height, bottom)))
        path = IMAGES / f"studio-{name}{'' if self.language == 'en' else '.' + self.language}.png"
        colors = 256
        while True:
            shot.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
            if path.stat().st_size <= LARGEST or colors <= 32:
                break
            colors //= 2
        print(f"{path.name}: {shot.width} × {shot.height}, {path.stat().st_size // 1000} kB", flush=True)

    def _edge(self, name: str, side: str) -> int:
        place: Locator = self.walker.at(name)
        return int(place.evaluate(f"e => e.getBoundingClientRect().{side} + window.scrollY"))

    def first(self) -> None:
        """The first screen of a new studio."""
        expect(self.walker.at("try").locator("img").nth(4)).to_be_visible()
        self.take("first", until="generate_bw_accordion")

    # -- LoRA Train

    def pictures(self) -> None:
        """A folder that was looked at, its captions, its gallery."""
        folder = self.studio.data / "pictures" / "krnk"
        if not folder.exists():
            shutil.copytree(PICTURES, folder)
            write_captions(folder, keyword=TRIGGER, lists=lists(), overwrite=True)
        walker = self.walker
        open_tab(walker.page, "train")
        walker.type("train_folder", str(folder))
        walker.press("train_look")
        walker.reads("train_summary", "12")
        walker.type("train_trigger", "krnk")
        walker.open("train_captions")
        expect(walker.at("train_gallery").locator("img").nth(5)).to_be_visible()
        walker.at("train_gallery").locator("img").nth(2).click()
        self.take("pictures", until="train_captions")
        walker.open("train_captions")

    def plan(self) -> None:
        """The plan with one changed option, in an open group."""
        walker = self.walker
        walker.type("train_steps", str(STEPS))
        walker.reads("train_plan", walker.words("train.about_steps", n=STEPS))
        walker.open("train_more")
        walker.at("train_more").locator(".atelier-fold-head[data-group=network]").click()
        walker.type("train_dim_option", "32")
        expect(walker.at("train_changes")).to_contain_text("32")
        self.take("plan", of="train_plan", until="train_dim_option")
        walker.open("train_more")
        walker.type("train_name", RUN)

    def run(self) -> None:
        """A training near its end."""
        walker = self.walker
        walker.press("train_train")
        expect(walker.at("train_run")).to_contain_text(re.compile(rf"(19|20|21)\d / {STEPS}"), timeout=LONG)
        self.take("run", of="train_run", until="train_samples")
        expect(walker.at("train_run")).to_contain_text(walker.words("train.state_done"), timeout=LONG)

    # -- Generate

    def generate(self) -> None:
        """Two pictures with the LoRA."""
        walker = self.walker
        caption = read_caption(self.studio.data / "pictures" / "krnk" / "f00.txt").text
        open_tab(walker.page, "generate")
        walker.type("generate_prompt", f"{caption} <lora:{RUN}:1>")
        walker.type("generate_seed", "1")
        walker.type("generate_batch", "2")
        walker.generate(20)
        self.take("generate", until="generate_bw_accordion")

    def blocks(self) -> None:
        """The accordion with its sliders."""
        self._weighed()
        self.take("blocks", of="generate_bw_accordion", until="generate_analyzer")

    def analyzer(self) -> None:
        """A finished analysis."""
        walker = self.walker
        self._weighed()
        walker.type("generate_batch", "1")
        walker.open("generate_analyzer")
        walker.choose("generate_analyzer_blocks", "BASE,IN01,IN04,OUT05,OUT07,OUT08", own=True)
        walker.reads("generate_analyzer_estimate", re.compile(r"\d"))
        walker.press("generate_analyzer_start")
        expect(walker.at("generate_analyzer_status").locator(".atelier-good")).to_be_visible()
        expect(walker.at("generate_analyzer_grids").locator("img").first).to_be_visible()
        self.take("analyzer", of="generate_analyzer", until="generate_analyzer_table")

    def _weighed(self) -> None:
        walker = self.walker
        if walker.box("generate_prompt").input_value() == "":
            self.generate()
        if not walker.at("generate_bw_row").is_visible():
            open_tab(walker.page, "generate")
            walker.open("generate_bw_accordion")
            expect(walker.at("generate_bw_row").locator("input[type=range]").first).to_be_visible()

    # -- LoRA Workshop, Report

    def merge(self) -> None:
        """One row with a preset, and its numbers."""
        walker = self.walker
        open_tab(walker.page, "workshop")
        walker.bench("merge")
        walker.choose("workshop_row1", RUN)
        walker.choose("workshop_row1_blocks", "FACE")
        walker.press("workshop_preview")
        walker.reads("workshop_merge_message", walker.words("workshop.previewed"))
        self.take("merge")

    def metadata(self) -> None:
        """Two entries that would change."""
        walker = self.walker
        open_tab(walker.page, "workshop")
        walker.bench("metadata")
        walker.choose("workshop_meta_file", RUN)
        walker.type("workshop_meta_title", "krnk")
        walker.type("workshop_meta_trigger_words", "krnk")
        walker.press("workshop_meta_preview")
        walker.reads("workshop_meta_changes", "krnk")
        self.take("metadata")

    def report(self) -> None:
        """The report of the run."""
        walker = self.walker
        open_tab(walker.page, "report")
        walker.press("report_refresh")
        walker.choose("report_chosen", RUN)
        walker.page.frame_locator("#atelier_report_shown iframe").locator("img").first.wait_for()
        self.take("report")


TRAINING = ("pictures", "plan", "run")
AWAY = {AT: OVER, HIDE: True}
"""What the settings of a studio say that is not new any more."""
ORDER = ("first", *TRAINING, "generate", "blocks", "analyzer", "merge", "metadata", "report")


def photograph(language: str, data: Path, names: Sequence[str]) -> None:
    """Take the pictures of one language."""
    if "first" in names:
        with tempfile.TemporaryDirectory() as new, _opened(Path(new, "studio"), language) as person:
            person.first()
    if set(names) == {"first"}:
        return
    settings = data / language / "settings.json"
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(AWAY), encoding="utf-8")
    with _opened(data / language, language) as person:
        studio = person.studio
        trained = (studio.data / "runs" / RUN).exists()
        for name in ORDER[1:]:
            if name in names and not (name in TRAINING and trained) or (name in TRAINING and not trained):
                act: Callable[[], None] = getattr(person, name)
                act()


@contextmanager
def _opened(data: Path, language: str) -> Iterator[Photographer]:
    """Give somebody in front of a studio over a data folder."""
    with running_studio(data) as studio, open_browser() as browser:
        walker = visit(browser, studio.url, language)
        walker.page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})
        yield Photographer(walker, studio)


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="where the studios keep their data")
    parser.add_argument("--language", choices=("en", "ja"), action="append", help="only this language")
    parser.add_argument("--only", choices=ORDER, action="append", help="only this picture; repeat for more")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    for language in options.language or ("en", "ja"):
        photograph(language, options.data.resolve(), options.only or ORDER)


if __name__ == "__main__":
    main()

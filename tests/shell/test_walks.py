"""The four walks of docs/architecture.md: which files a thing passes, in which order, and whether it ever climbs."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image

import lib_lora
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio import StudioHost
from tests.conftest import random_lora
from tests.shell.test_import_direction import FLOORS, PAGE

CORE = Path(lib_lora.__file__).parent
SECTION = PAGE.partition("\n## Four walks")[2].partition("\n## ")[0]
PAGES = {
    name: (re.findall(r"`([\w/]+)`", files), int(most))
    for name, files, most in re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| (\d+) \|$", SECTION, re.MULTILINE)
}
CALLBACKS = {"<lambda>", "so_far", "_predict", "__post_init__"}
"""What a lower floor calls of an upper one: how far it is, what there is to show so far, a prediction in a thread, and
the checks of options that `options.changed` makes anew."""


@dataclass
class Walk:
    """The files of the project that a call enters, and every call from a lower floor to a higher one.

    What happens behind a door (a function's file and name) counts as entering its file alone.
    """

    doors: set[tuple[str, str]] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    climbs: set[str] = field(default_factory=set)
    _behind: FrameType | None = None

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if frame is self._behind and event == "return":
            self._behind = None
        name = self._name(frame) if event == "call" and self._behind is None else ""
        if not name:
            return
        if name not in self.files:
            self.files.append(name)
        if (name, frame.f_code.co_name) in self.doors:
            self._behind = frame
        caller = frame.f_back
        while caller is not None and not self._name(caller):
            caller = caller.f_back
        if caller is not None and _floor(self._name(caller)) > _floor(name):
            self.climbs.add(frame.f_code.co_name)

    @staticmethod
    def _name(frame: FrameType) -> str:
        path = Path(frame.f_code.co_filename)
        is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # the bodies of modules and classes are not
        own = is_function and path.is_relative_to(CORE)
        return path.relative_to(CORE).with_suffix("").as_posix().removesuffix("/__init__") if own else ""

    @property
    def rooms(self) -> set[str]:
        """The folders that were entered; the single files of the lowest floors are in everybody's way."""
        return {file.rpartition("/")[0] for file in self.files} - {""}


def _floor(name: str) -> int:
    return FLOORS.get(name.partition("/")[0], -1)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> StudioHost:
    folder = tmp_path_factory.mktemp("loras")
    host = StudioHost.open(device="cpu", lora_folders=(folder,))
    write_lora(random_lora(host.model, rank=2), folder / "random.safetensors")
    return host


def paint(host: StudioHost, folder: Path) -> None:
    host.generate(GenerateRequest("a <lora:random:1:OUTALL>", steps=1))


def train(host: StudioHost, folder: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    (folder / "red.txt").write_text("red circle", encoding="utf-8")
    more = {"dim": 2, "resolution": 64, "steps": 2, "optimizer": "AdamW", "learning_rate": 1e-3}
    lib_lora.train_lora(host, runs=folder / "runs", images=str(folder), name="walk", trigger="krnk", **more)


def bake(host: StudioHost, folder: Path) -> None:
    baked, _ = lib_lora.bake(read_lora(host.lora_folders[0] / "random.safetensors"), "OUTALL")
    write_lora(baked, folder / "baked.safetensors")


def analyze(host: StudioHost, folder: Path) -> None:
    from lib_lora.analysis.grid import draw_grid

    draw_grid(lib_lora.analyze(host, GenerateRequest("a <lora:random:1:XYZ>", steps=1), blocks="IN01,OUT03"), title="a")


ELSEWHERE = {("host/studio/host", "generate"), ("services/file_facts", "_measure")}
"""The analyzer's pictures are the first walk, and what a file holds begins as the third: it goes to their doors."""
WALKS: dict[str, tuple[Callable[[StudioHost, Path], None], set[tuple[str, str]]]] = {
    "tag → weights → hook → picture": (paint, set()),
    "folder → batches → loss → file": (train, set()),
    "file → bake → file": (bake, set()),
    "analyzer order → grid": (analyze, ELSEWHERE),
}


def test_the_page_draws_these_walks() -> None:
    assert list(PAGES) == list(WALKS)


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_is_what_the_page_says(name: str, host: StudioHost, tmp_path: Path) -> None:
    files, most = PAGES[name]
    work, doors = WALKS[name]
    walk, before = Walk(doors), sys.getprofile()
    sys.setprofile(walk)
    try:
        work(host, tmp_path)
    finally:
        sys.setprofile(before)
    assert [file for file in walk.files if file in files] == files
    assert len(walk.rooms) <= most, sorted(walk.rooms)
    assert walk.climbs <= CALLBACKS

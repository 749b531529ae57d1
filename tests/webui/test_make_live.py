"""*Make it for me* in the running host: its model trains, its own txt2img renders with what came of it."""

from __future__ import annotations

import html
import urllib.request
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.webui.live import ROOT, LiveHost
from tests.webui.test_training_live import clean, picture

MAKES = "/lora-atelier/v1/makes"
SHORTEN = """
import pathlib
space = {"__name__": "short_make"}
exec(compile(pathlib.Path(path).read_text(encoding="utf-8"), path, "exec"), space)
before = []

def put(thing, name, value):
    before.append((thing, name, getattr(thing, name)))
    setattr(thing, name, value)

space["shorten"](put)
import lib_lora
lib_lora.lengthen = lambda: [setattr(*one) for one in before]
result = len(before)
"""


@pytest.fixture
def short(webui: LiveHost):
    """Orders of the host's process that do little of everything; as before when the test is over."""
    assert webui.run(SHORTEN, path=str(ROOT / "tests" / "short_make.py")) > 5
    yield
    webui.run("import lib_lora\nlib_lora.lengthen()\nresult = 0")


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures, enough that one is held out."""
    folder = tmp_path_factory.mktemp("discs")
    for number in range(9):
        one = Image.new("RGB", (64, 64), "white")
        draw = ImageDraw.Draw(one)
        draw.ellipse((3 * number, 4, 30 + 3 * number, 34 + 3 * number), fill=(28 * number, 90, 200 - 20 * number))
        draw.line((0, 7 * number, 63, 63 - 5 * number), fill="black", width=3)
        one.save(folder / f"{number}.png")
    return folder


@pytest.mark.usefixtures("short")
def test_pictures_and_a_word_become_a_finished_lora_of_the_hosts_list(webui: LiveHost, discs: Path) -> None:
    before = clean(webui)
    begun = webui.post(MAKES, {"images": str(discs), "trigger": "zzdisc", "steps": 4})
    assert begun["course"]["of"] == 11
    lefts: list[float] = []

    def over() -> bool:
        row = webui.get(f"{MAKES}/zzdisc")
        assert row["error"] is None, row["error"]
        if row["course"] and row["course"]["seconds_left"] is not None:
            lefts.append(row["course"]["seconds_left"])
        return not row["active"] and not row["next"]

    webui.wait(over, timeout=1800, what="the order", pause=1.0)
    made = webui.get(f"{MAKES}/zzdisc")
    assert made["lora"] == "zzdisc"
    assert lefts
    assert lefts[-1] < max(lefts)
    assert {"zzdisc", "zzdisc_usual"} <= set(webui.refresh_loras())
    assert made["numbers"]["held"] is True
    assert made["numbers"]["ours"]["bytes"] < made["numbers"]["usual"]["bytes"]
    # Of a prompt that it has kept, the host encodes nothing, and its last LoRA stays in the text encoder until it does.
    picture(webui, "a red disc")
    assert clean(webui) == before  # weights, pictures, hooks: as the host had them
    assert picture(webui, "zzdisc, 1girl <lora:zzdisc:1>") != picture(webui, "zzdisc, 1girl")
    with urllib.request.urlopen(webui.url + made["report"], timeout=60) as answer:
        page = answer.read().decode("utf-8")
    assert made["steps"]["proof"]["said"][0] in html.unescape(page)

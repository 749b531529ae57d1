"""Another block-weight extension in the same WebUI: ours stands aside, says so, and nothing is applied twice.

WEBUI_PEER names the folder of that extension (its script is `scripts/lora_block_weight.py`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webui.conftest import prepared_host
from tests.webui.live import EXTENSION, ROOT, LiveHost
from tests.webui.pictures import difference

NO_PEER = "NO NEIGHBOR WAS ASKED IN: set WEBUI_DIR, and WEBUI_PEER to the folder of another block-weight extension"
PROMPT = "a red apple <lora:plain:1:1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1>"
PLAIN, NONE = "a red apple <lora:plain:1>", "a red apple"


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHost]:
    """A WebUI of its own with both extensions."""
    other = os.environ.get("WEBUI_PEER", "")
    if not other:
        pytest.skip(NO_PEER)
    host = prepared_host(tmp_path_factory.mktemp("neighbors") / "data")
    # A copy, because such an extension writes its presets beside its script.
    shutil.copytree(other, host.data / "extensions" / Path(other).name)
    with host.running():
        yield host


def words_of_the_page(host: LiveHost) -> list[str]:
    return [str(each["props"].get(key)) for each in host.get("/config")["components"] for key in ("value", "label")]


def test_our_accordion_is_not_there_and_the_workshop_says_why(peer: LiveHost) -> None:
    said = [text for text in words_of_the_page(peer) if "stand aside" in text]
    assert len(said) == 1
    assert Path(os.environ["WEBUI_PEER"]).name in said[0]
    ids = [str(each["props"].get("elem_id")) for each in peer.get("/config")["components"]]
    assert "atelier_workshop_tabs" in ids
    assert not [each for each in ids if each.startswith("atelier_txt2img_bw")]
    assert "steps aside" in peer.said


def test_its_pictures_are_those_it_makes_without_us(peer: LiveHost) -> None:
    with_us = [peer.txt2img(prompt=prompt).images[0] for prompt in (PROMPT, PLAIN, NONE)]
    assert difference(with_us[1], with_us[2]) > 20
    link = peer.data / "extensions" / EXTENSION
    link.unlink()
    try:
        peer.restart()
        peer.load_model()
        alone = [peer.txt2img(prompt=prompt).images[0] for prompt in (PROMPT, PLAIN, NONE)]
    finally:
        link.symlink_to(ROOT, target_is_directory=True)
        peer.restart()
    assert [difference(one, other) for one, other in zip(with_us, alone, strict=True)] == [0, 0, 0]


def test_what_rests_on_our_tags_is_refused_and_offers_no_axes(peer: LiveHost) -> None:
    order = {"lora": "plain", "prompt": "an apple <lora:plain:1:XYZ>", "steps": 2}
    ordered = peer.post("/lora-atelier/v1/analyze", order)
    job = peer.get(f"/lora-atelier/v1/jobs/{ordered['job']}?wait=20")
    assert job["state"] == "failed"
    assert "stand aside" in job["error"]["what"]
    assert Path(os.environ["WEBUI_PEER"]).name in job["error"]["where"]
    axes = peer.run("""
        from modules import scripts
        plot = next(each.module for each in scripts.scripts_data if each.path.endswith("xyz_grid.py"))
        result = [option.label for option in plot.axis_options]
    """)
    assert not [label for label in axes if label.startswith("[LoRA Atelier]")]
    assert "Seed" in axes


def test_switched_off_it_leaves_the_place_to_us(peer: LiveHost) -> None:
    peer.set_options(disabled_extensions=[Path(os.environ["WEBUI_PEER"]).name])
    peer.reload_ui()
    ids = [str(each["props"].get("elem_id")) for each in peer.get("/config")["components"]]
    assert "atelier_workshop_aside" not in ids
    assert [each for each in ids if each.startswith("atelier_txt2img_bw")]
    ours, plain, none = (peer.txt2img(prompt=prompt).images[0] for prompt in (PROMPT, PLAIN, NONE))
    assert difference(ours, plain) > 0
    assert difference(ours, none) > 0

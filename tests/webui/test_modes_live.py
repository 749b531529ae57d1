"""A WebUI without its page, and one without its API: block weights work in both."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.webui.answers import Refused
from tests.webui.conftest import EXTENSION_DATA, prepared_host
from tests.webui.live import LiveHost
from tests.webui.pictures import difference

if TYPE_CHECKING:
    from playwright.sync_api import Page

ONLY_IN04 = "a red apple <lora:plain:1:0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0>"
PLAIN, NONE = "a red apple <lora:plain:1>", "a red apple"


def elsewhere_reached(host: LiveHost) -> bool:
    """Tell whether a host answers at another address of this machine than 127.0.0.1: it listens on all of them."""
    try:
        socket.create_connection(("127.0.0.2", urlsplit(host.url).port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "darwin", reason="127.0.0.2 is no address of this machine")
def test_paths_are_confined_where_the_host_listens_on_every_address(webui, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (64, 64)).save(pictures / "one.png")
    look = "/lora-atelier/v1/pictures/look"
    assert not elsewhere_reached(webui)
    assert "job" in webui.post(look, {"images": str(pictures)})
    host = prepared_host(tmp_path / "data", "--nowebui")
    try:
        host.start()
        assert elsewhere_reached(host)
        with pytest.raises(Refused) as refused:
            host.post(look, {"images": str(pictures)})
        assert refused.value.status in (400, 403)
        shutil.copytree(pictures, host.data / EXTENSION_DATA / "pictures", dirs_exist_ok=True)
        assert "job" in host.post(look, {"images": "pictures"})
    finally:
        host.stop()


def test_without_a_page_the_api_has_block_weights_and_our_routes(webui, tmp_path: Path) -> None:
    prompts = (ONLY_IN04, PLAIN, NONE)
    wanted = [webui.txt2img(prompt=prompt).image for prompt in prompts]
    with prepared_host(tmp_path / "data", "--nowebui").running() as host:
        made = [host.txt2img(prompt=prompt) for prompt in prompts]
        told = host.post("/lora-atelier/v1/resolve", {"prompt": ONLY_IN04})
        with pytest.raises(Refused):
            host.get("/config")  # there is no page
    assert [difference(one.image, other) for one, other in zip(made, wanted, strict=True)] == [0, 0, 0]
    assert difference(wanted[0], wanted[1]) > 0
    assert difference(wanted[0], wanted[2]) > 0
    assert "LoRA block weights" in made[0].infotexts[0]
    assert told["tags"][0]["name"] == "plain"
    assert [line for line in host.said.splitlines() if 'File "' in line and "lib_lora" in line] == []


def test_without_the_api_the_page_has_block_weights(webui, tmp_path: Path, open_page_of: Callable[..., Page]) -> None:
    from tests.webui.test_panels_live import LONG, closed_line, expect_text, said, small, write

    host = prepared_host(tmp_path / "data")
    host.without = ("--api", "--api-server-stop")
    try:
        host.start()
        with pytest.raises(Refused):
            host.get("/sdapi/v1/options")
        page = open_page_of(host)
        small(page)
        write(page, ONLY_IN04)
        expect_text(closed_line(page), "plain")
        page.locator("#txt2img_generate").click()
        text = expect_text(said(page, "html_info_txt2img"), "Steps: 2", LONG)
        assert "LoRA block weights" in text
        ids = [each["props"].get("elem_id") for each in host.get("/config")["components"]]
        assert ids.count("atelier_txt2img_bw_accordion") == ids.count("atelier_img2img_bw_accordion") == 1
    finally:
        host.stop()

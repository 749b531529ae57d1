"""The host itself as the other tests rely on it: it starts, reloads, dies and comes back with the same pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(scope="module", autouse=True)
def said_here(webui) -> Callable[[], str]:
    """Return what the host has said since this file began; others make it complain on purpose."""
    before = len(webui.said)
    return lambda: webui.said[before:]


def test_host_lists_the_loras_that_the_tests_made(webui):
    assert {"plain", "other", "locon"} <= set(webui.refresh_loras())


def test_each_lora_changes_the_picture_and_leaves_nothing_behind(webui):
    before = webui.txt2img(prompt="1girl").image
    changed = [webui.txt2img(prompt=f"1girl <lora:{name}:1>").image for name in ("plain", "other", "locon")]
    after = webui.txt2img(prompt="1girl").image
    pictures = [image.tobytes() for image in (before, *changed)]
    assert len(set(pictures)) == 4
    assert after.tobytes() == before.tobytes()


def test_reload_of_the_page_keeps_the_pictures_and_our_extension_alone(webui):
    before = webui.txt2img(prompt="1girl <lora:plain:1>").image
    titles = webui.get("/sdapi/v1/scripts")
    webui.reload_ui()
    assert webui.txt2img(prompt="1girl <lora:plain:1>").image.tobytes() == before.tobytes()
    assert webui.get("/sdapi/v1/scripts") == titles
    assert len(titles["txt2img"]) == len(set(titles["txt2img"]))


def test_killed_host_comes_back_with_the_same_picture(webui):
    before = webui.txt2img(prompt="1girl").image
    webui.kill()
    assert not webui.alive
    webui.start()
    assert webui.txt2img(prompt="1girl").image.tobytes() == before.tobytes()


def test_no_trace_of_a_failure_of_ours_is_in_the_hosts_log(webui, said_here):
    webui.txt2img(prompt="1girl <lora:plain:1>", steps=1)
    frames = [line.strip() for line in said_here().splitlines() if line.strip().startswith('File "')]
    assert [line for line in frames if "lib_lora" in line or "lora-atelier" in line] == []

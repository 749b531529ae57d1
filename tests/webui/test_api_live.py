"""The API in a real WebUI: its own LoRAs, its model, its access."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from PIL import Image

from lib_lora.formats.header import read_header
from tests.webui.answers import Refused

BASE = "/lora-atelier/v1"


def finished(webui: Any, answer: dict[str, Any]) -> dict[str, Any]:
    """Wait for a job of the API and return its result."""
    number = answer["job"]
    row = webui.wait(lambda: ended(webui.get(f"{BASE}/jobs/{number}?wait=10")), timeout=300, what="the job")
    assert (row["state"], row["error"]) == ("done", None)
    return webui.get(f"{BASE}/jobs/{number}/result")["result"]


def ended(row: dict[str, Any]) -> dict[str, Any] | None:
    return row if row["state"] in ("done", "stopped", "failed") else None


def test_api_names_the_loaded_model_and_the_hosts_loras(webui):
    webui.txt2img(prompt="", steps=1, width=64, height=64)
    assert webui.get(f"{BASE}/about")["model"]["family"] == "sd1"
    assert {"plain", "other", "locon"} <= set(webui.get(f"{BASE}/loras")["loras"])


def test_resolve_tells_numbers_and_names_the_bad_tag(webui):
    found = webui.post(f"{BASE}/resolve", {"prompt": "1girl <lora:plain:0.8:MIDD> <lora:plain:1:NOBODY>"})
    assert found["tags"][0]["multipliers"]["M00"] == 0.8
    assert [problem["tag"] for problem in found["problems"]] == ["<lora:plain:1:NOBODY>"]


def test_baked_file_is_in_the_hosts_list_and_draws_the_picture(webui):
    body = {"loras": [{"lora": "plain", "strength": 0.5}], "out": "half", "overwrite": True}
    assert finished(webui, webui.post(f"{BASE}/bake", body))["lora"] == "half"
    assert "half" in webui.refresh_loras()
    baked = webui.txt2img(prompt="1girl <lora:half:1>").image
    weighted = webui.txt2img(prompt="1girl <lora:plain:0.5>").image
    assert difference(baked, weighted) <= 1


def difference(one: Image.Image, other: Image.Image) -> int:
    """Return the largest 8-bit difference of two pictures."""
    pairs = zip(one.convert("RGB").tobytes(), other.convert("RGB").tobytes(), strict=True)
    return max(abs(a - b) for a, b in pairs)


def test_label_is_written_into_the_hosts_file(webui):
    body = {"lora": "other", "fields": {"title": "Another"}, "out": "labeled", "overwrite": True}
    assert webui.post(f"{BASE}/label", body)["lora"] == "labeled"
    assert read_header(webui.loras / "labeled.safetensors").metadata["modelspec.title"] == "Another"
    assert webui.get(f"{BASE}/inspect?lora=labeled")["hash"]["agrees"]


def test_analysis_on_the_hosts_model_gives_a_percentage_for_each_block(webui):
    body = {"prompt": "1girl <lora:plain:1>", "steps": 2, "blocks": "IN04,M00", "width": 64, "height": 64}
    body["threshold"] = 0  # a full-size model of random numbers changes its picture little
    found = finished(webui, webui.post(f"{BASE}/analyze", body))
    (whole,) = found["ranges"]
    assert set(whole["blocks"]) == {"IN04", "M00"}
    assert any(row["percent"] > 0 for row in whole["blocks"].values())


def test_short_run_trains_on_the_hosts_model_and_delivers_its_lora(webui):
    folder = webui.data / "lora-atelier" / "pictures" / "krnk"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        Image.new("RGB", (128, 128), (200, 80 * number, 40)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("krnk", encoding="utf-8")
    before = webui.txt2img(prompt="1girl").image
    body = {"images": str(folder), "name": "api_run", "kind": "character", "steps": 4, "dim": 2, "optimizer": "AdamW"}
    webui.post(f"{BASE}/train", body)
    row = webui.wait(lambda: over(webui.get(f"{BASE}/train/api_run")), timeout=300, what="the run")
    assert (row["state"], row["error"]) == ("done", None)
    assert row["lora"] in webui.refresh_loras()
    assert webui.txt2img(prompt="1girl").image.tobytes() == before.tobytes()


def over(row: dict[str, Any]) -> dict[str, Any] | None:
    return row if row["state"] in ("done", "failed", "stopped") else None


def test_refusals_of_a_real_host_are_json_in_three_parts(webui):
    with pytest.raises(Refused) as refused:
        webui.post(f"{BASE}/bake", {"loras": ["nobody"]})
    assert refused.value.status == 404
    assert set(refused.value.json) == {"what", "where", "cure"}


@contextlib.contextmanager
def restarted(webui: Any, *arguments: str):
    """Give the host with more arguments, and start it again without them afterwards."""
    before = list(webui.arguments)
    webui.arguments += arguments
    try:
        webui.restart()
        yield
    finally:
        webui.user, webui.arguments = "", before
        webui.restart()
        webui.txt2img(prompt="", steps=1, width=64, height=64, cfg_scale=1)


def test_hosts_names_and_passwords_stand_before_our_routes(webui):
    with restarted(webui, "--api-auth", "mika:secret,ren:other", "--gradio-auth", "page:word"):
        for user in ("", "mika:wrong", "page:word"):
            webui.user = user
            with pytest.raises(Refused) as refused:
                webui.get(f"{BASE}/presets")
            assert refused.value.status == 401
        with pytest.raises(Refused) as refused:
            webui.get(f"{BASE}/live/train_run")
        assert refused.value.status in (401, 404)
        webui.user = ""
        with pytest.raises(Refused) as refused:
            webui.get(f"{BASE}/files/outputs/a.png")
        assert refused.value.status == 401
        webui.user = "ren:other"
        assert webui.get(f"{BASE}/presets")["presets"]

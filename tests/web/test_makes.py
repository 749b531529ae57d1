"""Orders for a finished LoRA over HTTP: refused, begun, looked at, stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from lib_lora.host.studio import StudioHost
from lib_lora.web.api import add_api
from tests.servers import running_atelier

BASE = "/lora-atelier/v1/makes"


@pytest.fixture
def client(tmp_path: Path, studio):
    host = StudioHost(studio.model, (tmp_path / "data" / "loras",), studio.presets)
    with running_atelier(host, tmp_path / "data") as atelier:
        folder = atelier.folders.pictures / "krnk"
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64), "teal").save(folder / "a.png")
        app = FastAPI()
        add_api(app, atelier)
        yield TestClient(app)


def test_an_order_is_begun_looked_at_and_stopped(client: TestClient) -> None:
    answer = client.post(BASE, json={"images": "pictures/krnk", "trigger": "krnk", "steps": 3})
    assert answer.status_code == 202, answer.text
    assert answer.json()["active"] is True
    course = answer.json()["course"]
    assert (course["step"], course["of"], course["seconds_left"]) == (1, 11, None)
    assert "plan" in course["said"]
    stopped = client.post(f"{BASE}/krnk/stop", json={}).json()
    assert (stopped["name"], stopped["lora"], stopped["report"]) == ("krnk", None, None)
    assert [row["name"] for row in client.get(BASE).json()["makes"]] == ["krnk"]
    assert client.get(f"{BASE}/krnk").json()["options"]["steps"] == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "", {"images": "pictures/none", "trigger": "krnk"}, 400),
        ("POST", "", {"images": "pictures/krnk", "trigger": " "}, 400),
        ("POST", "", {"images": "pictures/krnk", "trigger": "kr\x07nk"}, 400),
        ("POST", "", {"images": "pictures/krnk", "trigger": "krnk\nhat"}, 400),
        ("POST", "", {"images": "pictures/krnk", "trigger": "krnk", "class_word": "a\u200bb"}, 400),
        ("POST", "", {"images": "pictures/krnk"}, 400),
        ("POST", "", {"images": "", "trigger": "krnk"}, 400),
        ("GET", "/nobody", None, 404),
        ("POST", "/nobody/continue", {}, 404),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(client, method: str, path: str, body, status: int) -> None:
    answer = client.request(method, BASE + path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["what"]

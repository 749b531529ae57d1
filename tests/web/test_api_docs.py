"""docs/api.md names every route and every field, and its requests work as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from lib_lora.formats.lora import write_lora
from lib_lora.host.studio import StudioHost
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.web.api import add_api
from lib_lora.web.api.routes import groups
from tests.servers import ending
from tools import option_tables

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
REQUEST = re.compile(r"```http\n(GET|POST) (\S+)\n(?:\n(.*?))?```", re.DOTALL)


@pytest.fixture
def atelier(tmp_path: Path, studio, lora) -> Iterator[Atelier]:
    folders = Folders.under(tmp_path / "data", confined=True)
    write_lora(lora, folders.loras / "krnk.safetensors")
    pictures = folders.pictures / "krnk"
    pictures.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (90, 60 * number, 90)).save(pictures / f"{number}.png")
    with ending(Atelier(StudioHost(studio.model, (folders.loras,), studio.presets), folders)) as made:
        yield made


def test_every_route_and_every_field_is_explained(atelier: Atelier) -> None:
    headings = re.findall(r"^### (.*)$", TEXT, re.MULTILINE)
    explained = {one.strip() for heading in headings for one in heading.split(",")}
    assert explained == {f"{route.method} {route.path}" for route in groups(atelier)}
    for route in groups(atelier):
        for one in route.options:
            assert f"`{one.name}`" in TEXT or f"{{{one.name}}}" in route.path, f"{route.path} {one.name}"


def test_the_tables_are_those_of_the_declared_options(atelier: Atelier) -> None:
    assert option_tables.written(TEXT) == TEXT, "python -m tools.option_tables"
    placed = {found[1] for found in option_tables.PLACE.findall(TEXT)}
    assert placed == set(option_tables.TABLES)
    for route in groups(atelier):
        name = f"{route.method} {route.path}"
        assert tuple(option_tables.TABLES.get(name, route.options)) == route.options
        assert name in placed or len(route.options) <= 4


def test_every_request_of_the_page_is_answered(atelier: Atelier) -> None:
    app = FastAPI()
    add_api(app, atelier)
    client = TestClient(app)
    found = REQUEST.findall(TEXT)
    order = sorted(found, key=lambda request: ("/jobs/" in request[1], "pause" in request[1]))
    known: dict[str, int] = {}
    for method, path, body in order:
        for shown, number in known.items():
            path = path.replace(f"/jobs/{shown}/", f"/jobs/{number}/").replace(f"/jobs/{shown}?", f"/jobs/{number}?")
        if path.endswith("/result"):
            client.get(path.replace("/result", "?wait=30"))
        headers = {"Content-Type": "application/json"}
        answer = client.request(method, path, content=body.encode() or None, headers=headers if body else {})
        assert answer.status_code in (200, 202), f"{method} {path}: {answer.text}"
        name = {"bake": "1", "analyze": "2"}.get(path.rpartition("/")[2])
        if name:
            known[name] = answer.json()["job"]
    assert len(found) >= 15
    client.post("/lora-atelier/v1/train/krnk_v1/stop", json={})
    for job in (*atelier.queue.jobs(), *atelier.files.jobs()):
        job.stop()  # that each comes to its end is the promise of its own tests
    for job in (*atelier.queue.jobs(), *atelier.files.jobs()):
        job.wait(60)

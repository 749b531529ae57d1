"""What the tests of the API share: an atelier on the pocket model with one LoRA, and a visitor of its routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lib_lora.formats.lora import write_lora
from lib_lora.host.studio import StudioHost
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.web.api import add_api
from lib_lora.web.api.access import Access
from lib_lora.web.guard import Guard
from lib_lora.web.routes import BASE, add_routes
from tests.servers import ending

LOCAL = "http://127.0.0.1:7870"


@pytest.fixture
def atelier(tmp_path: Path, studio, lora) -> Iterator[Atelier]:
    folders = Folders.under(tmp_path / "data", confined=True)
    write_lora(lora, folders.loras / "girl.safetensors")
    with ending(Atelier(StudioHost(studio.model, (folders.loras,), studio.presets), folders)) as made:
        yield made


class Web:
    """A visitor of the API."""

    def __init__(self, atelier: Atelier, access: Access | None = None, **guard: Any) -> None:
        app = FastAPI()
        add_routes(app, atelier, guard=access.look if access else None)
        add_api(app, atelier, access)
        self.app = app
        self.client = TestClient(Guard(app, **guard) if guard else app, base_url=LOCAL)

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(BASE + path, **more)

    def post(self, path: str, _body: Any = None, **more: Any) -> Any:
        return self.client.post(BASE + path, json=_body if _body is not None else {}, **more)

    def result(self, answer: Any) -> dict[str, Any]:
        """Wait for a job and return its result."""
        assert answer.status_code == 202, answer.text
        number = answer.json()["job"]
        for _ in range(20):
            row = self.get(f"/jobs/{number}?wait=30").json()
            if row["state"] not in ("waiting", "running"):
                break
        assert row["state"] == "done", row
        return self.get(f"/jobs/{number}/result").json()["result"]


@pytest.fixture
def web(atelier: Atelier) -> Web:
    return Web(atelier)


def refused(answer: Any, status: int) -> dict[str, str]:
    """Return what a refusal says; it has the three parts and nothing of Python."""
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"what", "where", "cure"}
    assert said["what"]
    assert "Traceback" not in answer.text
    return said

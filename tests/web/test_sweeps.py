"""Sweeps over HTTP: queued whole or not at all, compared, gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_lora.services.atelier import Atelier
from tests.web.conftest import Web, refused


@pytest.fixture
def body(atelier: Atelier) -> dict:
    folder = atelier.folders.pictures / "krnk"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (64, 64), (90 * number, 90, 120)).save(folder / f"{number}.png")
    options = {"images": "pictures/krnk", "name": "krnk", "trigger": "krnk", "steps": 1, "batch_size": 1}
    options |= {"resolution": 64, "optimizer": "AdamW", "learning_rate": 1e-3, "dim": 1, "save_every_epochs": 0}
    return {"options": options, "values": {"dim": [1, 2]}, "prompt": "krnk --s 1 --w 64 --h 64"}


def test_a_sweep_is_queued_compared_and_named(web: Web, atelier: Atelier, body: dict) -> None:
    made = web.post("/sweeps", body)
    assert made.status_code == 200, made.text
    assert [(one["name"], one["values"]) for one in made.json()["runs"]] == [
        ("krnk_dim1", {"dim": 1}),
        ("krnk_dim2", {"dim": 2}),
    ]
    refused(web.post("/sweeps", body), 400)  # the name is taken
    for job in list(atelier.queue.jobs("train")):
        job.wait(120)
    for _ in range(20):
        jobs = atelier.queue.jobs()
        assert all(job.wait(120) for job in jobs)
        if len(atelier.queue.jobs()) == len(jobs):
            break
    found = web.get("/sweeps/krnk").json()
    assert (found["finished"], found["active"]) == (2, False)
    assert [one["state"] for one in found["comparison"]["runs"]] == ["done", "done"]
    assert found["comparison"]["verdict"].startswith("no run is marked as the best")
    assert found["comparison"]["without_lora"]["picture"]
    japanese = web.client.get("/lora-atelier/v1/sweeps/krnk", headers={"Accept-Language": "ja"}).json()
    assert japanese["comparison"]["verdict"].startswith("最良の印は付けていません")
    assert "comparison.ja.png" in japanese["files"]["picture"]
    picture = web.client.get(found["files"]["picture"])
    assert picture.status_code == 200
    assert picture.headers["content-type"] == "image/png"
    assert [one["name"] for one in web.get("/sweeps").json()["sweeps"]] == ["krnk"]
    refused(web.post("/sweeps/krnk/continue"), 400)  # nothing is left to do
    result = web.result(web.post("/sweeps/krnk/compare"))
    assert [bool(one["picture"]) for one in result["runs"]] == [True, True]
    assert web.post("/sweeps/krnk/stop").status_code == 200
    (atelier.folders.runs / "krnk" / "sweep.json").write_text("{", encoding="utf-8")
    assert "krnk" in web.get("/sweeps").json()["problems"][0]["where"]
    refused(web.get("/sweeps/krnk"), 400)
    refused(web.get("/sweeps/nobody"), 404)


@pytest.mark.parametrize(
    "change",
    [
        {"values": {}},
        {"values": {"dim": 4}},
        {"values": {"dim": ["x"]}},
        {"values": {"images": ["../../elsewhere"]}},
        {"rows": [{"dim": 4}]},
        {"values": {}, "rows": [{"dim": 0}]},
        {"values": {"seed": list(range(65))}},
        {"options": {"name": "../krnk"}},
        {"options": {}},
        {"prompt": "krnk --what 3"},
    ],
)
def test_what_cannot_be_leaves_nothing(web: Web, atelier: Atelier, body: dict, change: dict) -> None:
    refused(web.post("/sweeps", {**body, **change}), 400)
    assert not list(Path(atelier.folders.runs).iterdir())


def test_an_unknown_sweep_is_not_found(web: Web) -> None:
    for verb in ("continue", "stop", "compare"):
        refused(web.post(f"/sweeps/nobody/{verb}"), 404)
    refused(web.get("/sweeps/nobody"), 404)

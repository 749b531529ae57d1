"""The API's long work: the analyzer and training, as jobs and runs."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_lora.formats.lora import write_lora
from lib_lora.services import rate_probe
from lib_lora.services.atelier import Atelier
from lib_lora.train.rate_range import probe

from .conftest import Web, refused


def test_analysis_runs_as_a_job_and_gives_numbers_and_files(web: Web) -> None:
    body = {"prompt": "girl <lora:girl:1>", "steps": 2, "blocks": "IN04,M00", "width": 64, "height": 64}
    answer = web.post("/analyze", body)
    assert answer.json()["pictures"] >= 3
    found = web.result(answer)
    (whole,) = found["ranges"]
    assert (whole["range"], set(whole["blocks"]), whole["finished"]) == ("0/1", {"IN04", "M00"}, True)
    assert {file["name"].rpartition(".")[2] for file in found["files"]} == {"csv", "png"}
    for file in found["files"]:
        assert web.client.get(file["url"]).status_code == 200


def test_a_plans_pictures_are_a_job_with_each_vector_once(web: Web) -> None:
    body = {"vector": "ALL", "lora": "girl", "fix": "NOT IN04 M00", "mode": "subadd", "prompt": "girl", "steps": 2}
    answer = web.post("/plan/pictures", {**body, "width": 64, "height": 64})
    assert answer.json()["pictures"] == 5
    found = web.result(answer)
    assert [one["names"] for one in found["variants"]][:2] == [["Sub", "Add"], ["SubIN04_0.5"]]
    assert found["variants"][1]["value"] == 0.5
    assert found["variants"][0]["changed"] is None
    for file in (*found["grids"], *(file for one in found["variants"] for file in one["files"])):
        assert web.client.get(file["url"]).status_code == 200


@pytest.mark.parametrize(
    "change", [{"lora": "nobody"}, {"fix": "IN99"}, {"step": 0}, {"seeds": 9}, {"vector": "NOSUCH"}, {"prompt": 3}]
)
def test_an_impossible_plan_is_refused_before_it_waits(web: Web, atelier: Atelier, change: dict) -> None:
    body = {"vector": "ALL", "lora": "girl", "prompt": "girl", **change}
    refused(web.post("/plan/pictures", body), 404 if change.get("lora") else 400)
    assert atelier.queue.jobs() == []


def test_stopped_analysis_keeps_what_it_has(web: Web) -> None:
    body = {"prompt": "girl <lora:girl:1>", "steps": 30, "seeds": 50, "width": 64, "height": 64}
    number = web.post("/analyze", body).json()["job"]
    assert web.post(f"/jobs/{number}/stop").status_code == 200
    row = web.get(f"/jobs/{number}?wait=30").json()
    assert row["state"] == "stopped"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "girl"},
        {"prompt": "girl <lora:nobody:1:XYZ>"},
        {"range": "0"},
        {"blocks": "IN99"},
        {"steps": 0},
        {"width": 100_000},
        {"color": "red"},
        {"seed": -2},
        {"pormpt": "girl"},
        {"also": 3},
    ],
)
def test_impossible_analysis_is_refused_before_it_waits(web: Web, atelier: Atelier, change: dict) -> None:
    refused(web.post("/analyze", {"prompt": "girl <lora:girl:1>", **change}), 400)
    assert atelier.queue.jobs() == []


def test_lora_of_a_path_outside_is_no_lora_of_a_confined_server(web: Web, tmp_path: Path, lora) -> None:
    outside = write_lora(lora, tmp_path / "outside.safetensors")
    refused(web.post("/analyze", {"prompt": f"<lora:{outside}:1:XYZ>", "steps": 1}), 400)


def pictures(folder: Path, count: int = 3) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64, 64), (40 * number, 90, 120)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("krnk", encoding="utf-8")
    return folder


def test_run_is_started_paused_resumed_stopped_and_leaves_its_lora(web: Web, atelier: Atelier) -> None:
    pictures(atelier.folders.pictures / "krnk")
    body = {
        "images": "pictures/krnk",
        "name": "krnk_v1",
        "kind": "character",
        "trigger": "krnk",
        "steps": 400,
        "dim": 2,
    }
    assert web.post("/train", body).status_code == 202
    wait_for(web, lambda row: row["step"] >= 2)
    refused(web.post("/train", body), 400)  # the name is taken
    web.post("/train/krnk_v1/pause")
    wait_for(web, lambda row: row["state"] == "paused")
    assert web.post("/train/krnk_v1/resume").json()["state"] in ("waiting", "running")
    wait_for(web, lambda row: row["state"] == "running")
    web.post("/train/krnk_v1/stop")
    row = wait_for(web, lambda row: row["state"] == "stopped")
    assert row["lora"] in web.get("/loras").json()["loras"]
    assert [run["name"] for run in web.get("/train").json()["past"]] == ["krnk_v1"]


def test_probe_draws_what_the_run_will_learn_from_and_a_stopped_one_has_no_result(
    web: Web, atelier: Atelier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_probe, "probe", partial(probe, steps=2))
    pictures(atelier.folders.pictures / "krnk", 1)
    body = {"images": "pictures/krnk", "name": "krnk_v1", "optimizer": "AdamW", "resolution": 64, "dim": 2}
    body |= {"reg_count": 1, "reg_prompts": ["cat"], "reg_steps": 1}
    found = web.result(web.post("/train/probe", {"options": body}))
    assert len(found["rates"]) == len(found["losses"]) == 2
    assert len(list(atelier.folders.runs.glob(".regularization/*/*.png"))) == 1
    monkeypatch.setattr(rate_probe, "probe", partial(probe, steps=300))
    number = web.post("/train/probe", {"options": body}).json()["job"]
    assert web.post(f"/jobs/{number}/stop").status_code == 200
    assert web.get(f"/jobs/{number}?wait=30").json()["state"] == "stopped"
    assert "stopped" in refused(web.get(f"/jobs/{number}/result"), 400)["what"]


def wait_for(web: Web, ready: Any) -> dict[str, Any]:
    """Return the run's row once it is so."""
    for _ in range(600):
        row = web.get("/train/krnk_v1").json()
        if ready(row):
            return row
        assert row["state"] not in ("failed", "done"), row
        time.sleep(0.1)
    raise AssertionError(row)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": "../evil"}, 400),
        ({"name": ""}, 400),
        ({"images": "/etc"}, 400),
        ({"images": "pictures/none"}, 400),
        ({"images": "pictures/../../.."}, 400),
        ({"images": 3}, 400),
        ({"images": "pictures/a\u0000b"}, 400),
        ({"dims": 4}, 400),
        ({"dim": 4.5}, 400),
        ({"kind": "monster"}, 400),
        ({"reg_images": "/"}, 400),
        ({"images": "pictures/empty"}, 400),
        ({"reg_images": "pictures/empty"}, 400),
        ({"learning_rate": 0}, 400),
        ({"optimizer_args": {"no_such_argument": 1}}, 400),
        ({"sample_prompts": ["<lora:nobody:1>"]}, 400),
    ],
)
def test_impossible_run_is_refused_and_leaves_no_folder(web: Web, atelier: Atelier, change: dict, status: int) -> None:
    pictures(atelier.folders.pictures / "krnk")
    (atelier.folders.pictures / "empty").mkdir()
    refused(web.post("/train", {"images": "pictures/krnk", "name": "a", "kind": "character", **change}), status)
    assert list(atelier.folders.runs.iterdir()) == []


@pytest.mark.parametrize("path", ["/train/nobody", "/jobs/99999", "/jobs/99999/result"])
def test_what_is_not_there_is_a_404_in_words(web: Web, path: str) -> None:
    refused(web.get(path), 404)


@pytest.mark.parametrize("verb", ["pause", "resume", "stop", "remove"])
def test_order_to_a_run_that_is_not_there_is_a_404(web: Web, verb: str) -> None:
    refused(web.post(f"/train/nobody/{verb}"), 404)

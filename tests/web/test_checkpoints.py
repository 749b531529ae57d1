"""Extract and into-checkpoint over HTTP: files by their names, the work as jobs, refusals in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_lora.formats.header import read_header
from lib_lora.formats.lora import read_lora
from lib_lora.services.atelier import Atelier
from tests.merge import checkpoint_pairs as made
from tests.merge.test_extract import pair_of

from .conftest import Web, refused


@pytest.fixture
def folder(atelier: Atelier) -> Path:
    atelier.folders.checkpoints.mkdir()
    pair_of(atelier.folders.checkpoints, "sd1")
    return atelier.folders.checkpoints


def test_extract_and_into_checkpoint_end_in_files_of_the_lists(web: Web, atelier: Atelier, folder: Path) -> None:
    assert web.get("/checkpoints").json()["checkpoints"] == ["base", "pocket", "tuned"]
    body = {"tuned": "tuned", "original": "base", "compress": {"kind": "rank", "value": 4}, "conv_rank": 2}
    made_lora = web.result(web.post("/extract", body, headers={"Accept-Language": "ja"}))
    assert made_lora["lora"] == "tuned_minus_base_r4"
    assert made_lora["blocks"]["IN04"]["rank_after"] == 4
    assert 0.5 < made_lora["energy_kept"] < 1
    assert any("正規化とバイアス" in note for note in made_lora["notes"])
    lora = read_lora(atelier.folders.loras / "tuned_minus_base_r4.safetensors")
    assert {adapter.rank for adapter in lora.adapters.values()} == {2, 4}
    body = {"checkpoint": "base", "loras": [{"lora": made_lora["lora"], "strength": 0.5}]}
    written = web.result(web.post("/into-checkpoint", body))
    path = folder / f"{written['checkpoint']}.safetensors"
    assert path.name == "base+tuned_minus_base_r4_0.5.safetensors"
    assert written["sha256"] == made.digest(path)
    assert list(read_header(path).tensors) == list(read_header(folder / "base.safetensors").tensors)
    assert "base+tuned_minus_base_r4_0.5" in web.get("/checkpoints").json()["checkpoints"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/extract", {"tuned": "tuned", "original": "nobody"}, 400),
        ("/extract", {"tuned": "tuned", "original": "tuned"}, 400),
        ("/extract", {"tuned": "tuned", "original": "../base"}, 400),
        ("/extract", {"tuned": "tuned", "original": "base", "out": "girl"}, 409),
        (
            "/extract",
            {"tuned": "tuned", "original": "base", "compress": {"kind": "size", "value": 0}},
            400,
        ),
        ("/extract", {"tuned": "tuned", "original": "base", "conv_rank": 1.5}, 400),
        ("/into-checkpoint", {"checkpoint": "base", "loras": []}, 400),
        ("/into-checkpoint", {"checkpoint": "base", "loras": ["nobody"]}, 404),
        ("/into-checkpoint", {"checkpoint": "base", "loras": ["girl"], "out": "tuned"}, 409),
        ("/into-checkpoint", {"checkpoint": "base", "loras": ["girl"], "out": "a/b"}, 400),
    ],
)
def test_what_cannot_be_right_is_refused_before_any_work(
    web: Web, folder: Path, path: str, body: dict, status: int
) -> None:
    before = {file: made.digest(file) for file in folder.iterdir()}
    refused(web.post(path, body), status)
    assert {file: made.digest(file) for file in folder.iterdir()} == before


def test_a_wrong_name_is_told_the_nearest_in_the_language_of_who_asks(web: Web, folder: Path) -> None:
    answer = web.post("/extract", {"tuned": "tunde", "original": "base"}, headers={"Accept-Language": "ja"})
    assert answer.json()["what"] == "この名前のチェックポイントはありません"
    assert "tuned" in answer.json()["cure"]

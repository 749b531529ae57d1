"""A folder of pictures over HTTP: what is in it is told, and tags are changed line by line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.demo.trial import LORA
from lib_lora.services.atelier import Atelier
from tests.face_detector import detector
from tests.onnx_file import needs_runtime, write_cutter, write_tagger

from .conftest import Web, refused

TWO = "krnk, red hair\nblue sky, standing"


JSON = {"Content-Type": "application/json"}


@pytest.fixture
def folder(atelier: Atelier) -> Path:
    place = atelier.folders.pictures / "krnk"
    place.mkdir(parents=True)
    for name in ("f00", "f01"):
        Image.new("RGB", (64, 64), "white").save(place / f"{name}.png")
        (place / f"{name}.txt").write_text(TWO, encoding="utf-8")
    (place / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return place


def test_what_is_in_a_folder_is_told(web: Web, folder: Path) -> None:
    found = web.result(web.post("/pictures/look", {"images": "pictures/krnk"}))
    assert (found["pictures"], found["captions"], found["unread"]) == (2, 2, {".heic": 1})
    assert found["tags"] == {"blue sky": 2, "krnk": 2, "red hair": 2, "standing": 2}
    said = "\n".join(found["problems"])
    assert "broken.png" in said
    assert "1 file is of a kind that cannot be read (.heic 1): save it as JPEG" in said
    assert "several lines: only the first is trained" in said


def test_tags_change_in_the_lines_that_have_them_and_come_back(web: Web, folder: Path) -> None:
    body = {"images": "pictures/krnk", "act": "remove", "tag": "red hair"}
    assert web.result(web.post("/pictures/tag", body)) == {"changed": 2, "problems": []}
    assert (folder / "f00.txt").read_text(encoding="utf-8") == "krnk\nblue sky, standing\n"
    assert web.result(web.post("/pictures/tag", {**body, "act": "add", "tag": "smile"}))["changed"] == 2
    assert (folder / "f00.txt").read_text(encoding="utf-8") == "krnk, smile\nblue sky, standing\n"
    body |= {"act": "replace", "tag": "blue sky", "by": "night"}
    assert web.result(web.post("/pictures/tag", body))["changed"] == 2
    assert (folder / "f01.txt").read_text(encoding="utf-8") == "krnk, smile\nnight, standing\n"
    for left in (2, 1, 0):
        answer = web.post("/pictures/undo", {"images": "pictures/krnk"}).json()
        assert answer == {"changed": 2, "kept": [], "left": left}
    assert (folder / "f01.txt").read_text(encoding="utf-8") == TWO


def test_captions_are_listed_by_their_tags_and_a_change_is_previewed(web: Web, folder: Path) -> None:
    (folder / "f01.txt").write_text("krnk, long hair", encoding="utf-8")
    found = web.result(web.post("/pictures/captions", {"images": "pictures/krnk", "only": "not red*"}))
    assert found == {"captions": {"f01.png": "krnk, long hair"}, "tags": {"krnk": 1, "long hair": 1}, "all": 2}
    refused(web.post("/pictures/captions", {"images": "pictures/krnk", "only": "and"}), 400)
    body = {"images": "pictures/krnk", "act": "regex", "tag": r"(\w+) hair", "by": r"\1-haired", "preview": True}
    seen = web.result(web.post("/pictures/tag", {**body, "only": "long*"}))
    row = {"file": "f01.txt", "before": "krnk, long hair", "after": "krnk, long-haired"}
    assert seen == {"would_change": 1, "first": [row], "problems": []}
    assert (folder / "f01.txt").read_text(encoding="utf-8") == "krnk, long hair"


@pytest.mark.parametrize(
    "change", [{"tag": "，"}, {"act": "replace"}, {"act": "sort"}, {"images": "pictures/none"}, {"images": "/etc"}]
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(web: Web, folder: Path, change: dict) -> None:
    refused(web.post("/pictures/tag", {"images": "pictures/krnk", "act": "add", "tag": "x", **change}), 400)
    assert (folder / "f00.txt").read_text(encoding="utf-8") == TWO


def test_a_tagger_on_the_server_writes_captions(web: Web, folder: Path, atelier: Atelier) -> None:
    needs_runtime()
    write_tagger(atelier.folders.data / "taggers" / "small")
    body = {"images": "pictures/krnk", "tagger": "taggers/small", "existing": "append", "exclude": "krnk*"}
    found = web.result(web.post("/pictures/tagger", {**body, "preview": True}))
    assert (found["would_change"], len(found["first"])) == (2, 2)
    assert web.result(web.post("/pictures/tagger", {**body, "only": "krnk"}))["changed"] == 2
    assert "blue sky" in (folder / "f00.txt").read_text(encoding="utf-8").split("\n")[0]
    refused(web.post("/pictures/tagger", {**body, "tagger": "/etc"}), 400)
    refused(web.post("/pictures/tagger", {**body, "general": 2}), 400)


def test_masks_and_crops_are_made_on_the_server(web: Web, folder: Path, atelier: Atelier, monkeypatch) -> None:
    needs_runtime()
    picture = Image.new("RGB", (200, 300), (0, 0, 200))
    picture.paste((255, 0, 0), (0, 0, 100, 300))
    picture.save(folder / "f02.png")
    write_cutter(atelier.folders.data / "u2net.onnx")
    body = {"images": "pictures/krnk", "cutter": "u2net.onnx"}
    found = web.result(web.post("/pictures/cutouts", body))
    assert (found["written"], sorted(found["nothing"])) == (["f02.png"], ["f00.png", "f01.png"])
    assert (atelier.folders.pictures / "krnk_masks" / "f02.png").is_file()
    for wrong in ({"cutter": "/etc"}, {"target": "/tmp/x"}, {"target": "pictures/krnk/m"}, {"only": "and"}):
        refused(web.post("/pictures/cutouts", {**body, **wrong}), 400)
    monkeypatch.setitem(sys.modules, "animeface", detector((80, 80, 40, 40, 0.8)))
    body = {"images": "pictures/krnk", "least_side": 64}
    found = web.result(web.post("/pictures/crops", body))
    assert ([one["name"] for one in found["proposed"]], found["written"]) == (["f02_face"], [])
    assert web.result(web.post("/pictures/crops", {**body, "target": "face"}))["written"] == ["f02_face.png"]
    assert (atelier.folders.pictures / "face" / "f02_face.png").is_file()
    refused(web.post("/pictures/crops", {**body, "target": "/tmp/x"}), 400)


def test_the_rules_for_file_names_are_read_checked_and_saved(web: Web, atelier: Atelier) -> None:
    path = atelier.folders.data / "tag_rules.txt"
    usual = web.get("/pictures/rules").json()
    assert (usual["file"], usual["problem"]) == ("tag_rules.txt", None)
    assert usual["text"] == path.read_text(encoding="utf-8")
    assert usual["rules"]["above"] == ["from above"]
    made = web.post("/pictures/rules", {"text": "above: seen from above\nface front: collarbone\n"}).json()
    assert (made["rules"]["above"], made["rules"]["face_front"]) == (["seen from above"], ["collarbone"])
    assert path.read_text(encoding="utf-8") == "above: seen from above\nface front: collarbone\n"
    assert path.with_name("tag_rules.txt.bak1").read_text(encoding="utf-8") == usual["text"]


@pytest.mark.parametrize("text", ["abvoe: x", "above: a\nabove: b", "above: " + "x" * 2**16, "above: \ud800"])
def test_rules_that_cannot_be_are_refused_and_change_nothing(web: Web, atelier: Atelier, text: str) -> None:
    before = web.get("/pictures/rules").json()
    refused(web.client.post("/lora-atelier/v1/pictures/rules", content=json.dumps({"text": text}), headers=JSON), 400)
    assert web.get("/pictures/rules").json() == before
    assert not list(atelier.folders.data.glob("tag_rules.txt.bak*"))


def test_rules_that_somebody_broke_are_shown_to_be_mended(web: Web, atelier: Atelier) -> None:
    (atelier.folders.data / "tag_rules.txt").write_text("abvoe: x\n", encoding="utf-8")
    found = web.get("/pictures/rules", headers={"Accept-Language": "ja"}).json()
    assert (found["text"], found["rules"]) == ("abvoe: x\n", None)
    assert "abvoe" in found["problem"]["what"]


NOWHERE = {
    "empty": "",
    "blank": " ",
    "of another system": "a\0b",
    "too long": "x" * 5000,
    "nobody's": "~nobody-there/x",
}


@pytest.mark.parametrize("given", NOWHERE.values(), ids=NOWHERE)
@pytest.mark.parametrize(
    ("path", "field", "more"),
    [
        ("/train", "images", {"name": "n"}),
        ("/train", "masks", {"name": "n", "images": "pictures"}),
        ("/pictures/look", "images", {}),
        ("/pictures/tagger", "tagger", {"images": "pictures"}),
        ("/pictures/cutouts", "cutter", {"images": "pictures"}),
        ("/fit", "images", {"lora": "krnk"}),
    ],
)
def test_a_folder_that_cannot_be_is_refused_in_words_at_the_call(
    web: Web, atelier: Atelier, folder: Path, path: str, field: str, more: dict, given: str
) -> None:
    if not given.strip() and (path, field) in (("/train", "masks"), ("/fit", "images")):
        pytest.skip("empty means none here")
    if path == "/fit":
        shutil.copy(LORA, atelier.folders.loras / "krnk.safetensors")
    body = {name: f"{value}/krnk" if name == "images" else value for name, value in more.items()} | {field: given}
    assert refused(web.post(path, body), 400)["cure"]
    assert web.get("/jobs").json()["jobs"] == []

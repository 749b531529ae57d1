"""Labels over HTTP: many at once, found, brought back."""

from __future__ import annotations

import json

from lib_lora.formats.header import read_header
from lib_lora.i18n.words import Words
from lib_lora.services import cards
from lib_lora.services.atelier import Atelier
from lib_lora.ui.workshop.metadata import FORM, SAME, Handlers
from tests.services.test_label_many import make
from tests.web.conftest import Web


def test_many_files_are_previewed_changed_and_brought_back(web: Web, atelier: Atelier) -> None:
    folder = atelier.folders.loras
    path = make(folder, "dress", {"ss_dataset_dirs": "{}", "modelspec.trigger_phrase": "red dress"})
    (folder / "broken.safetensors").write_bytes(b"12345678")
    before = path.read_bytes()
    body = {"loras": ["girl", "broken", "dress"], "fields": {"author": "me"}, "remove_private": True, "card": "write"}
    found = web.result(web.post("/label-many", {**body, "preview": True}))
    assert (found["changed"], found["of"], len(found["failed"])) == (2, 3, 1)
    assert "broken.safetensors" in found["failed"][0]["where"]
    assert path.read_bytes() == before
    found = web.result(web.post("/label-many", body))
    assert [row["lora"] for row in found["files"]] == ["girl", "dress"]
    assert all(row["hash"]["before"] == row["hash"]["after"] for row in found["files"])
    assert json.loads((folder / "dress.json").read_text(encoding="utf-8"))["activation text"] == "red dress"
    undone = web.post("/label/undo", {"lora": "dress"}).json()
    assert (undone["backup"], path.read_bytes()) == ("dress.safetensors.bak1", before)
    assert web.post("/label/undo", {"lora": "dress", "original": True}).status_code == 200
    assert web.post("/label/undo", {"lora": "broken"}).status_code == 409


def test_files_are_found_by_what_they_say(web: Web, atelier: Atelier) -> None:
    make(atelier.folders.loras, "dress", {"modelspec.trigger_phrase": "red dress"})
    assert web.get("/loras?search=RED").json() == {"loras": ["dress"], "broken": []}
    assert web.get("/loras").json() == {"loras": ["dress", "girl"]}
    body = {"search": "red", "entries": {"ss_clip_skip": "2"}}
    assert web.result(web.post("/label-many", body))["changed"] == 1
    assert read_header(atelier.folders.loras / "dress.safetensors").metadata["ss_clip_skip"] == "2"


def test_what_cannot_be_is_refused(web: Web) -> None:
    for body in (
        {"fields": {"author": "me"}},
        {"loras": ["girl"]},
        {"loras": [1], "fields": {"author": "me"}},
        {"loras": ["girl"], "entries": {"ss_seed": 1}},
        {"loras": ["girl"], "entries": {"sshs_model_hash": "x"}, "preview": True, "cover": "x", "remove_cover": True},
    ):
        assert web.post("/label-many", body).status_code == 400, body
    assert web.post("/label-many", {"loras": ["nobody"], "fields": {"author": "me"}}).status_code == 404


def test_a_file_tells_where_it_comes_from_and_is_made_again(web: Web, atelier: Atelier) -> None:
    web.result(web.post("/bake", {"loras": ["girl:0.5:MIDD"], "out": "half"}))
    found = web.get("/inspect?lora=half").json()
    (parent,) = found["origin"]["parents"]
    assert (parent["name"], parent["state"], parent["row"]["strength"]) == ("girl", "here", 0.5)
    assert found["repeat"].startswith("python run.py bake girl.safetensors --strength=0.5 --weights=")
    assert str(atelier.folders.loras) not in found["repeat"]  # the server answers others
    made = web.result(web.post("/repeat", {"lora": "half"}))
    assert made == {"lora": "half_again", "same": True, "hash": found["hash"]["computed"]}
    assert web.post("/repeat", {"lora": "half", "out": "half"}).status_code == 409
    (atelier.folders.loras / "girl.safetensors").unlink()
    answer = web.post("/repeat", {"lora": "half"})
    assert (answer.status_code, "is not here" in answer.text) == (400, True)


def test_a_file_is_told_as_a_page_in_the_language_of_who_asks(web: Web, atelier: Atelier) -> None:
    odd = {"modelspec.title": "a <b>\x00\n# x", "ss_sd_model_name": "/home/me/m.safetensors", "ss_steps": "9" * 99_999}
    make(atelier.folders.loras, "dress", odd)
    text = web.get("/readme?lora=dress").json()["text"]
    assert text.startswith("# a \\<b\\> \\# x\n\n## How to use it\n\n- `<lora:dress:1>`\n")
    assert ("/home/me" in text, "m.safetensors" in text) == (False, True)
    assert "## 使い方" in web.get("/readme?lora=dress", headers={"Accept-Language": "ja"}).json()["text"]


def test_a_title_with_characters_that_nobody_sees_leaves_its_form_usable(atelier: Atelier) -> None:
    make(atelier.folders.loras, "dress", {"modelspec.title": "a\x1b[31m\x00b", "modelspec.author": "me"})
    form = Handlers(atelier, Words("en"))
    loaded = form.load("dress")
    assert loaded[0] == "a[31mb"
    order = form.order(*loaded[: len(FORM)], "", cards.UPDATE, cards.NEITHER, SAME, False)
    assert order is not None

"""Where a file comes from, its page, its card and its earlier states, through the handlers in both languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lib_lora.formats.header import read_header
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.ui.workshop import batch, earlier, family, merge, metadata
from tests.ui.test_workshop import CHOICES, atelier, form, last, table

__all__ = ["atelier"]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_tree_is_shown_and_the_file_made_again(atelier: Atelier, language: str) -> None:
    words = Words(language)
    rows = table(("girl", 0.5, "MIDD", 1.0, 1.0), ("dress", -1.0, "ALL", 0.0, 1.0))
    last(merge.Handlers(atelier, words).save("both", False, *rows, *CHOICES))
    do = family.Handlers(atelier, words)
    html, line, stop = last(do.look("both"))
    assert (html.count("<li>"), html.count(words("workshop.family_here"))) == (3, 2)
    assert (line.split()[2], stop["visible"]) == ("merge", False)
    assert "atelier-good" in last(do.repeat("both"))[0]
    (atelier.folders.loras / "girl.safetensors").unlink()
    assert words("workshop.family_missing") in last(do.look("both"))[0]
    assert "atelier-error" in last(do.repeat("both"))[0]
    html, line, _ = last(do.look("dress"))
    assert (words("workshop.family_none") in html, line) == (True, "")
    assert "atelier-error" in last(do.look("nobody"))[0]


def test_the_page_is_made_saved_and_replaced_only_when_asked(atelier: Atelier) -> None:
    do = family.Handlers(atelier, Words("en"))
    text, message = do.page("girl")
    assert (text.startswith("# girl"), message) == (True, "")
    assert "atelier-good" in do.save_page("girl", text + "mine", False)
    assert "exists already" in do.save_page("girl", text, False)
    assert (atelier.folders.loras / "girl.md").read_text(encoding="utf-8").endswith("mine")
    assert "atelier-good" in do.save_page("girl", "", True)


def test_a_change_is_brought_back_and_the_first_state_too(atelier: Atelier) -> None:
    meta, do = metadata.Handlers(atelier, Words("en")), earlier.Handlers(atelier, Words("en"))
    path = atelier.folders.loras / "girl.safetensors"
    before = path.read_bytes()
    assert "no backup" in do.look("girl")[0]
    for author in ("one", "two"):
        last(meta.save("girl", "place", "", *form(meta, "girl", author=author)))
    html = do.look("girl")[1]
    assert (html.count("Undo the last change"), html.count("Back to the original")) == (1, 1)
    assert "atelier-good" in last(do.last("girl"))[0]
    assert read_header(path).metadata["modelspec.author"] == "one"
    assert "atelier-good" in last(do.first("girl"))[0]
    assert path.read_bytes() == before


def test_the_card_is_shown_taken_over_and_asked_about(atelier: Atelier, tmp_path: Path) -> None:
    do = metadata.Handlers(atelier, Words("en"))
    card = atelier.folders.loras / "girl.json"
    card.write_text('{"description": "from the WebUI", "activation text": "other words"}', encoding="utf-8")
    loaded = do.load("girl")
    assert (loaded[metadata.FORM.index("description")], loaded[-2]["visible"]) == ("from the WebUI", True)
    assert "Both stay" in loaded[-1]
    values = form(do, "girl", author="me")
    message, html = do.preview("girl", "place", "", *values)
    assert ("Both stay" in message, "modelspec.description" in html) == (True, True)
    last(do.save("girl", "place", "", *form(do, "girl", prefer="card")))
    said = read_header(atelier.folders.loras / "girl.safetensors").metadata
    assert (said["modelspec.trigger_phrase"], said["modelspec.description"]) == ("other words", "from the WebUI")
    last(do.save("girl", "place", "", *form(do, "girl", trigger_words="mine", entries="ss_clip_skip=2\n")))
    assert json.loads(card.read_text(encoding="utf-8"))["activation text"] == "mine"
    card.write_text("{", encoding="utf-8")
    assert "left as it is" in do.load("girl")[-1]
    assert "atelier-error" in do.preview("girl", "place", "", *form(do, "girl", entries="nonsense"))[0]
    assert "no preview picture" in do.preview_cover("girl")[-1]
    Image.new("RGB", (64, 64), "red").save(atelier.folders.loras / "girl.png")
    assert do.preview_cover("girl")[1] == metadata.PREVIEW
    last(do.save("girl", "place", "", *form(do, "girl", metadata.PREVIEW)))
    assert do.load("girl")[len(metadata.FORM)].size == (64, 64)


def test_all_means_all_that_the_search_finds(atelier: Atelier) -> None:
    do = batch.Handlers(atelier, Words("en"))
    assert do.all_files("girl word", [])["value"] == ["girl"]
    assert do.all_files("girl word", ["girl"])["value"] == []
    assert do.all_files("", ["girl"])["value"] == ["dress", "girl"]

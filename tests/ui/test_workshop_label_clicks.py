"""The tab Metadata as a person uses it, in Chromium, in both languages: save, undo, family tree, many files at once."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright", reason="NOBODY CLICKED: Playwright is missing (python run.py setup)")

from playwright.sync_api import expect

from lib_lora.cli.main import main
from lib_lora.formats.header import read_header
from lib_lora.i18n.words import Words
from tests.services.test_lineage import trained
from tests.ui.browser import open_tab, sideways
from tests.ui.walking import visit


@pytest.fixture(params=["en", "ja"])
def walked(studio_server, visitor, request, capsys):
    """Two LoRAs and a third that is made of one, in the studio's folder; the tab in one language."""
    language = request.param
    folder = studio_server.data / "loras"
    for number, name in enumerate(("girl", "dress")):
        trained(folder / f"{name}_{language}.safetensors", number, 4)
    girl, half = folder / f"girl_{language}.safetensors", folder / f"half_{language}.safetensors"
    assert main(["bake", str(girl), "--strength", "0.5", "--out", str(half), "--overwrite"]) == 0
    walker = visit(visitor, studio_server.url, language)
    open_tab(walker.page, "workshop")
    walker.bench("metadata")
    return walker, folder, Words(language), language


def test_a_file_is_labeled_in_place_and_brought_back(walked) -> None:
    walker, folder, words, language = walked
    name = f"girl_{language}"
    path = folder / f"{name}.safetensors"
    before = path.read_bytes()
    walker.choose("workshop_meta_file", name)
    expect(walker.box("workshop_meta_copy")).to_have_value(f"{name}_edited")
    walker.type("workshop_meta_title", "A girl")
    walker.page.get_by_label(words("workshop.where_place")).check()
    walker.press("workshop_meta_save")
    walker.reads("workshop_meta_result", f"{name}.safetensors.bak1")
    assert read_header(path).metadata["modelspec.title"] == "A girl"
    walker.open("workshop_earlier")
    walker.press("workshop_undo_last")
    walker.reads("workshop_undo_message", f"{name}.safetensors")
    expect(walker.box("workshop_meta_title")).to_have_value("")
    assert path.read_bytes() == before
    assert sideways(walker.page) == 0


def test_the_tree_the_page_and_many_files(walked) -> None:
    walker, folder, words, language = walked
    walker.choose("workshop_meta_file", f"half_{language}")
    expect(walker.box("workshop_meta_copy")).to_have_value(f"half_{language}_edited")
    walker.open("workshop_family")
    walker.press("workshop_family_look")
    walker.reads("workshop_family_tree", words("readme.verb_bake"))
    expect(walker.box("workshop_family_command")).to_have_value(re.compile("^python run.py bake .*--out"))
    walker.press("workshop_family_repeat")
    walker.reads("workshop_family_message", f"half_{language}_again.safetensors")
    walker.open("workshop_page")
    walker.press("workshop_page_make")
    expect(walker.box("workshop_page_text")).to_have_value(re.compile("^# half"))
    walker.box("workshop_meta_search").fill(f"dress_{language}")
    walker.box("workshop_meta_search").press("Enter")
    walker.open("workshop_batch")
    walker.press("workshop_batch_all")
    walker.type("workshop_batch_author", "me")
    walker.press("workshop_batch_save")
    walker.reads("workshop_batch_message", {"en": "not previewed", "ja": "まだプレビューしていません"}[language])
    walker.press("workshop_batch_preview")
    walker.reads("workshop_batch_message", words("workshop.batch_will", n=1, all=1))
    walker.press("workshop_batch_save")
    walker.reads("workshop_batch_message", ".original")
    assert read_header(folder / f"dress_{language}.safetensors").metadata["modelspec.author"] == "me"
    assert sideways(walker.page) == 0

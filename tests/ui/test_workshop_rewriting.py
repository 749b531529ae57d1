"""The Merge tab's part for other forms and parts of a file, and the Metadata tab's comparison of two files."""

from __future__ import annotations

import pytest

from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier
from lib_lora.ui.workshop import metadata, rewriting
from tests.ui.test_workshop import atelier

__all__ = ["atelier"]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_file_is_converted_pruned_and_split_in_the_panel(atelier: Atelier, language: str) -> None:
    do = rewriting.Handlers(atelier, Words(language))
    name = next(iter(atelier.host.list_loras()))
    usual = ("same", "same", False, "", False, "text", "")
    *_, (message, table, _, replace) = do.save(name, "convert", "other", False, "comfyui", *usual[1:])
    assert "other.safetensors" in message
    assert table
    assert replace["visible"] is False
    *_, (message, _, _, replace) = do.save(name, "convert", "other", False, "comfyui", *usual[1:])
    assert "atelier-error" in message
    assert replace["visible"] is True
    *_, (message, *_) = do.save(name, "prune", "", False, *usual)
    assert "atelier-error" in message
    *_, (message, table, *_) = do.save(name, "split", "part", False, *usual[:-2], "blocks", "")
    assert "part_" in table
    panel = metadata.Handlers(atelier, Words(language))
    *_, (table, _) = panel.compare_blocks(name, "other")
    assert "1.0000" in table

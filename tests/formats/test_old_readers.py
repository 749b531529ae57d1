"""What older programs find in a file that was labeled here, read by the rules that they read by.

Additional Networks: ``ssmd_…``, both hashes. A1111 and Forge: the header's first bytes, values that begin with a brace
as JSON, the cover, the card. Viewers of modelspec: its keys, the thumbnail as a data URL. Civitai: AutoV3.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

from lib_lora.services.labels import LabelOptions, write
from tests.services.test_lineage import trained

SAID = {
    "title": "{krnk}",
    "trigger_words": "krnk, 黒猫",
    "author": "me",
    "description": "line one\nline two",
    "tags": "cat, girl",
    "source_url": "https://example.org/krnk",
    "preferred_weight": "0.8",
    "notes": "n",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Image.new("RGB", (600, 900), "red").save(tmp_path / "cover.png")
    made = trained(tmp_path / "krnk.safetensors", 0, 4)
    entries = {"ss_tag_frequency": '{"10_krnk": {"krnk": 12}}', "ss_base_model_version": "sd_v1", "ss_v2": "False"}
    options = LabelOptions(**SAID, cover=str(tmp_path / "cover.png"), entries=entries, card="write")
    return write(made, options.order()).path


def webui_metadata(path: Path) -> dict:
    """Read a header as A1111 does."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = file.read(2)
        assert length > 2
        assert start in (b'{"', b"{'")
        found = json.loads(start + file.read(length - 2))["__metadata__"]
    table: dict = {}
    for key, value in found.items():
        table[key] = json.loads(value) if isinstance(value, str) and value[:1] == "{" else value
    return table


def tensor_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_a1111_reads_its_tables_the_cover_and_the_card(path: Path) -> None:
    found = webui_metadata(path)
    assert found["ss_tag_frequency"]["10_krnk"]["krnk"] == 12
    assert all(isinstance(value, str | dict) for value in found.values())
    assert isinstance(found["modelspec.title"], str)  # not taken for JSON
    cover = json.loads(found["ssmd_cover_images"])
    with Image.open(io.BytesIO(base64.b64decode(cover[0]))) as picture:
        assert max(picture.size) == 384
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["activation text"], card["preferred weight"], card["notes"]) == ("krnk, 黒猫", 0.8, "n")
    assert (card["description"], card["sd version"]) == ("line one\nline two", "SD1")
    with Image.open(path.with_suffix(".png")) as shown:
        assert max(shown.size) == 900


def test_additional_networks_and_viewers_of_modelspec_find_their_keys(path: Path) -> None:
    with safetensors.safe_open(path, "pt") as opened:
        found = opened.metadata()
    assert found["ssmd_display_name"].strip() == SAID["title"]
    assert (found["ssmd_keywords"], found["ssmd_author"], found["ssmd_tags"]) == ("krnk, 黒猫", "me", "cat, girl")
    assert (found["ssmd_description"], found["ssmd_source"]) == (SAID["description"], SAID["source_url"])
    assert (found["modelspec.trigger_phrase"], found["modelspec.author"]) == ("krnk, 黒猫", "me")
    head, data = found["modelspec.thumbnail"].split(",", 1)
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(data)[:2] == b"\xff\xd8"


def test_civitai_and_webui_find_the_true_hash(path: Path, tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain.safetensors", 0, 4)
    with safetensors.safe_open(path, "pt") as opened:
        found = opened.metadata()
    assert found["sshs_model_hash"] == hashlib.sha256(tensor_bytes(path)).hexdigest()
    assert tensor_bytes(path) == tensor_bytes(plain)
    first, second = safetensors.torch.load_file(path), safetensors.torch.load_file(plain)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)

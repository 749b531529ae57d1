"""A file, the WebUI's card and the preview picture in step, both ways; what contradicts or is broken is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image

from lib_lora.errors import InputError
from lib_lora.formats.card import read_card
from lib_lora.formats.cover import read_cover
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import describe
from lib_lora.services import cards, labels
from lib_lora.services.labels import LabelOptions

KEY = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
WEBUI = {
    "description": "a girl",
    "sd version": "SDXL",
    "activation text": "krnk",
    "preferred weight": 0.8,
    "negative text": "blurry",
    "notes": "",
    "modelId": 12,
    "sha256": "AB",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "girl.safetensors"
    tensors = {f"{KEY}.lora_down.weight": torch.ones(4, 2048), f"{KEY}.lora_up.weight": torch.ones(640, 4)}
    safetensors.torch.save_file(tensors, target, {"ss_seed": "1", "ss_base_model_version": "sdxl_base_v1-0"})
    return target


def webui_saves(path: Path, **changes: Any) -> None:
    """Do what A1111's editor does: read the card, change its entries, write it in place."""
    place = path.with_suffix(".json")
    known = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    known |= {name.replace("_", " "): value for name, value in changes.items()}
    with place.open("w", encoding="utf-8") as file:
        json.dump(known, file, indent=4, ensure_ascii=False)


def card(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def fields(path: Path) -> dict[str, str]:
    return {name: text for name, text in describe(read_header(path).metadata).fields.items() if text}


def save(path: Path, **options: Any) -> labels.Labeled:
    return labels.write(path, LabelOptions(**options).order())


def test_a_card_that_was_there_first_is_read_and_keeps_what_others_wrote(path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps(WEBUI), encoding="utf-8")
    made = save(path, author="me")
    assert fields(path) == {"author": "me", "trigger_words": "krnk", "preferred_weight": "0.8", "description": "a girl"}
    assert {name: card(path)[name] for name in WEBUI} == WEBUI
    assert {change.key for change in made.changes} >= {"modelspec.author", "modelspec.trigger_phrase"}


def test_what_is_typed_here_is_in_the_card_and_what_the_webui_changes_comes_back(path: Path) -> None:
    save(path, trigger_words="krnk", preferred_weight="0.8", card="write")
    assert (card(path)["activation text"], card(path)["preferred weight"], card(path)["sd version"]) == (
        "krnk",
        0.8,
        "SDXL",
    )
    webui_saves(path, activation_text="krnk, smile", preferred_weight=0)
    newer, notes = cards.file_step(path, read_header(path).metadata)
    assert newer == {"trigger_words": "krnk, smile", "preferred_weight": ""}
    assert "is newer" in notes[0]
    save(path, author="me")
    assert fields(path) == {"author": "me", "trigger_words": "krnk, smile"}
    assert not save(path, author="me").changes


def test_a_text_taken_out_here_goes_from_the_card_too(path: Path) -> None:
    save(path, trigger_words="krnk", notes="n", card="write")
    save(path, notes="")
    assert (card(path)["notes"], card(path)["activation text"]) == ("", "krnk")


def test_where_both_were_changed_nothing_is_lost_until_somebody_says_which_counts(path: Path) -> None:
    save(path, description="a", card="write")
    webui_saves(path, description="from the WebUI")
    save(path, description="typed here", card="leave")
    made = save(path, author="me")
    assert "Both stay" in made.notes[0]
    assert (fields(path)["description"], card(path)["description"]) == ("typed here", "from the WebUI")
    save(path, prefer="card")
    assert (fields(path)["description"], card(path)["description"]) == ("from the WebUI",) * 2
    webui_saves(path, description="b")
    save(path, description="c", card="leave")
    save(path, prefer="file")
    assert (fields(path)["description"], card(path)["description"]) == ("c", "c")


def test_an_undo_takes_the_card_along(path: Path) -> None:
    before = path.read_bytes()
    save(path, trigger_words="one", card="write")
    save(path, trigger_words="two")
    labels.undo(path)
    assert (fields(path)["trigger_words"], card(path)["activation text"]) == ("one", "one")
    labels.undo(path)
    assert (fields(path)["trigger_words"], card(path)["activation text"]) == ("two", "two")
    labels.undo(path, original=True)
    assert path.read_bytes() == before
    assert card(path)["activation text"] == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no table"),
        (b"1" * 5000, "no JSON"),
        (b" " * (9 * 2**20), "larger than"),
    ],
    ids=["cut", "bytes", "deep", "list", "long number", "huge"],
)
def test_a_broken_card_is_named_and_never_written_over(path: Path, content: bytes, said: str) -> None:
    path.with_suffix(".json").write_bytes(content)
    for mode in ("update", "write"):
        made = save(path, trigger_words=f"krnk {mode}", card=mode)
        assert said in made.notes[0]
    assert path.with_suffix(".json").read_bytes() == content
    assert fields(path)["trigger_words"] == "krnk write"


@pytest.mark.parametrize("value", [7, [], {}, True, "\ud800", "x" * 200_000], ids=str)
def test_an_entry_of_another_kind_is_named_and_stays(path: Path, value: Any) -> None:
    text = json.dumps({"activation text": value, "notes": "n", "preferred weight": "much"})
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    made = save(path, trigger_words="krnk")
    assert "activation text, preferred weight" in made.notes[0]
    assert card(path)["activation text"] == value
    assert fields(path) == {"trigger_words": "krnk", "notes": "n"}


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "1e999", "-0.5", "0.80", '"0.7"', "null"])
def test_a_weight_is_a_number_or_none(path: Path, weight: str) -> None:
    path.with_suffix(".json").write_text('{"preferred weight": ' + weight + "}", encoding="utf-8")
    found = read_card(path)
    known = {"-0.5": "-0.5", "0.80": "0.8", '"0.7"': "0.7", "null": ""}
    assert found.text("preferred_weight") == known.get(weight, "")
    assert bool(found.odd) == (weight not in known)


def test_a_copy_gets_a_card_and_a_preview_of_its_own(path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps(WEBUI), encoding="utf-8")
    Image.new("RGB", (64, 64), "red").save(path.with_suffix(".preview.png"))
    copy = path.with_name("copy.safetensors")
    made = labels.write(path, LabelOptions(trigger_words="new").order(), target=copy)
    assert [one.name for one in made.beside] == ["copy.json", "copy.preview.png"]
    assert (card(copy)["activation text"], card(copy)["modelId"], "sha256" in card(copy)) == ("new", 12, False)
    assert card(path) == WEBUI
    other = path.with_name("other.safetensors")
    other.with_suffix(".json").write_text('{"notes": "mine"}', encoding="utf-8")
    made = labels.write(path, LabelOptions(trigger_words="new").order(), target=other)
    assert "stays" in made.notes[-1]
    assert card(other) == {"notes": "mine"}


def test_cover_and_preview_follow_each_other(path: Path, tmp_path: Path) -> None:
    red, blue = tmp_path / "r.png", tmp_path / "b.png"
    Image.new("RGB", (900, 600), "red").save(red)
    Image.new("RGB", (600, 900), "blue").save(blue)
    with pytest.raises(InputError, match="no preview picture"):
        save(path, cover_from_preview=True)
    save(path, cover=str(red))
    assert cards.preview_path(path) is None
    save(path, title="t", card="write")
    assert cards.preview_path(path) == path.with_suffix(".png")
    shutil.copy(blue, path.with_suffix(".png"))
    save(path, cover_from_preview=True)
    cover = read_cover(read_header(path).metadata)
    assert cover is not None
    assert cover.getpixel((9, 9))[2] > 200
    theirs = path.with_suffix(".png").read_bytes()
    save(path, cover=str(red))
    with Image.open(path.with_suffix(".png")) as shown:
        assert shown.convert("RGB").getpixel((9, 9))[0] > 200
    assert path.with_name("girl.png.bak1").read_bytes() == theirs
    save(path, remove_cover=True)
    assert path.with_suffix(".png").exists()


def test_a_card_that_cannot_be_written_is_said_and_the_file_is_saved(path: Path, monkeypatch) -> None:
    path.with_suffix(".json").write_text("{}", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib_lora.formats.card.back_up", full)
    made = save(path, trigger_words="krnk")
    assert "No space left" in str(made.failed[0])
    assert fields(path)["trigger_words"] == "krnk"
    assert path.with_suffix(".json").read_text(encoding="utf-8") == "{}"


def test_a_family_that_the_card_names_otherwise_is_said(path: Path) -> None:
    webui_saves(path, sd_version="SD1")
    assert "says SD1, the file is for SDXL" in save(path, author="me").notes[0]
    webui_saves(path, sd_version="Unknown")
    save(path, author="you")
    assert card(path)["sd version"] == "SDXL"

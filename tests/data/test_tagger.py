"""A tagger of the user's: what it is shown, which of its tags are taken, how they are written, what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from lib_lora.data.onnx_model import squared
from lib_lora.data.tagger import Tagger, TagRules, plain
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.services.captions import Captions
from lib_lora.services.tagging import TaggerOptions, suggest, tag_pictures
from tests.onnx_file import TAGS, needs_runtime, write_tagger

COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255), "dark": (0, 0, 0)}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    for name, color in COLORS.items():
        Image.new("RGB", (40, 40), color).save(place / f"{name}.png")
    (place / "red.txt").write_text("krnk, red", encoding="utf-8")
    return place


@pytest.mark.parametrize("form", [{}, {"last": False}, {"logits": True}, {"side": "h"}, {"last": False, "side": "h"}])
def test_colors_reach_the_model_in_the_order_and_range_of_its_form(tmp_path, form):
    needs_runtime()
    tagger = Tagger.open(write_tagger(tmp_path / "t", **form))
    rules = TagRules()
    assert [tag for tag, _ in tagger.tags(Image.new("RGB", (40, 40), (0, 0, 255)), rules)] == [">_<", "blue sky"]
    assert [tag for tag, _ in tagger.tags(Image.new("RGB", (40, 40), (255, 0, 0)), rules)] == ["krnk (hero)", "red"]
    shares = tagger.probabilities(Image.new("RGB", (8, 8), (255, 255, 255)))
    assert shares == pytest.approx(np.full(len(TAGS), 1 / (1 + np.exp(-8))), abs=1e-3)


def test_a_picture_stands_in_the_middle_of_a_white_square():
    made = np.asarray(squared(Image.new("RGB", (40, 20), (0, 0, 0)), 40))
    assert made[:10].min() == made[30:].min() == 255
    assert made[10:30].max() == 0
    assert squared(Image.new("RGB", (10, 30)), 64).size == (64, 64)


@pytest.mark.parametrize(
    ("rules", "tags"),
    [
        (TagRules(), ["krnk (hero)", ">_<", "blue sky", "green grass", "red"]),
        (TagRules(character=1), [">_<", "blue sky", "green grass", "red"]),
        (TagRules(general=1), ["krnk (hero)"]),
        (TagRules(underscores=True), ["krnk_(hero)", ">_<", "blue_sky", "green_grass", "red"]),
        (TagRules(exclude="Blue Sky, green_*"), ["krnk (hero)", ">_<", "red"]),
        (TagRules(exclude=r"krnk \(hero\), >_<"), ["blue sky", "green grass", "red"]),
    ],
)
def test_tags_are_chosen_and_written_by_the_rules_and_ratings_never(tmp_path, rules, tags):
    needs_runtime()
    found = [tag for tag, _ in Tagger.open(write_tagger(tmp_path)).tags(Image.new("RGB", (4, 4), "white"), rules)]
    assert sorted(found) == sorted(tags)
    assert found[0] == tags[0]  # characters first


@pytest.mark.parametrize("face", ["0_0", "(o)_(o)", "+_-", "<|>_<|>", "=_=", "^_^", ">_o", "||_||", "6_9", ";_;"])
def test_faces_keep_their_underscore(face):
    assert TagRules().written(face) == face
    assert TagRules().written("d-pad_x") == "d-pad x"
    assert plain(r"Saber_\(fate\)") == "saber (fate)"


@pytest.mark.parametrize(
    ("existing", "after"),
    [
        ("missing", {"red": "krnk, red", "blue": ">_<, blue sky"}),
        ("append", {"red": "krnk, red, krnk (hero)", "blue": ">_<, blue sky"}),
        ("prepend", {"red": "krnk (hero), krnk, red", "blue": ">_<, blue sky"}),
        ("overwrite", {"red": "krnk (hero), red", "blue": ">_<, blue sky"}),
    ],
)
def test_captions_are_written_as_one_change_that_comes_back(tmp_path, folder, existing, after):
    needs_runtime()
    place, captions = write_tagger(tmp_path / "t"), Captions(tmp_path / "data", folder)
    pictures = sorted(folder.glob("*.png"))
    options = TaggerOptions(str(place), existing=existing)
    seen = tag_pictures(captions, pictures, place, TaggerOptions(str(place), existing=existing, preview=True))
    assert {one.path.stem: one.after for one in seen.first} | {"red": after["red"]} == after
    assert [path.name for path in folder.glob("*.txt")] == ["red.txt"]
    made = tag_pictures(captions, pictures, place, options)
    assert made.count == len(list(seen.first))
    assert {path.stem: path.read_text(encoding="utf-8").strip() for path in folder.glob("*.txt")} == after
    captions.undo()
    assert [path.name for path in folder.glob("*.txt")] == ["red.txt"]
    assert (folder / "red.txt").read_text(encoding="utf-8").strip() == "krnk, red"


def test_a_picture_that_is_gone_is_named_and_the_others_are_tagged(tmp_path, folder):
    needs_runtime()
    place, captions = write_tagger(tmp_path / "t"), Captions(tmp_path / "data", folder)
    gone = [folder / "another.png", folder / "blue.png"]
    for preview in (True, False):
        made = tag_pictures(captions, gone, place, TaggerOptions(str(place), preview=preview))
        assert (made.count, [one.path.name for one in made.problems]) == (1, ["another.png"])
    assert (folder / "blue.txt").read_text(encoding="utf-8").strip() == ">_<, blue sky"


def test_a_tag_that_stands_there_in_another_spelling_is_not_doubled(tmp_path, folder):
    needs_runtime()
    (folder / "blue.txt").write_text("Blue_Sky, x", encoding="utf-8")
    place = write_tagger(tmp_path / "t")
    options = TaggerOptions(str(place), existing="append")
    tag_pictures(Captions(tmp_path / "data", folder), [folder / "blue.png"], place, options)
    assert (folder / "blue.txt").read_text(encoding="utf-8").strip() == "Blue_Sky, x, >_<"


def test_what_is_no_tagger_is_a_sentence(tmp_path):
    needs_runtime()
    for kind, make in (
        (FileError, lambda place: place.rmdir()),
        (FileError, lambda place: None),
        (FileError, lambda place: (place / "model.onnx").write_bytes(b"x" * 99)),
        (FileError, lambda place: (write_tagger(place) / "selected_tags.csv").unlink()),
        (FileError, lambda place: (write_tagger(place) / "selected_tags.csv").write_text("a,b\n1,2\n")),
        (InputError, lambda place: write_tagger(place, listed=3)),
        (FileError, lambda place: (write_tagger(place) / "model.onnx").write_bytes(b"\x08\x08broken")),
        (InputError, lambda place: (write_tagger(place) / "model.onnx").rename(place / "a.onnx").with_name("b.onnx")
            .write_bytes(b"")),
    ):  # fmt: skip
        place = tmp_path / f"t{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        make(place)
        with pytest.raises(kind) as caught:
            suggest(tmp_path / "x.png", place, TaggerOptions(str(place)))
        assert caught.value.cure


def test_without_onnxruntime_the_cure_is_how_to_get_it(tmp_path, folder, monkeypatch):
    place = write_tagger(tmp_path / "t")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AtelierError, match="pip install onnxruntime"):
        suggest(folder / "red.png", place, TaggerOptions(str(place)))

"""Crops around faces: where they lie, which are left out, what is written; the detector is a stand-in."""

from __future__ import annotations

import sys

import pytest
from PIL import Image

from lib_lora.data.faces import LOOKED_AT, Face, crop_box, find_faces
from lib_lora.errors import AtelierError
from lib_lora.services.crops import CropOptions, propose, write_crops
from tests.face_detector import detector


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "krnk"
    place.mkdir()
    Image.new("RGB", (800, 1200), (9, 99, 200)).save(place / "a.png")
    (place / "a.txt").write_text("krnk, full body, smile", encoding="utf-8")
    return place


def test_a_large_picture_is_looked_at_smaller_and_told_in_its_own_pixels(monkeypatch):
    fake = detector((10, 20, 50, 40, 0.5), (100, 100, 30, 30, 0.9))
    monkeypatch.setitem(sys.modules, "animeface", fake)
    found = find_faces(Image.new("RGBA", (4 * LOOKED_AT, LOOKED_AT)).convert("RGB"))
    assert fake.detect.seen == [(LOOKED_AT, LOOKED_AT // 4)]
    assert found == [Face(400, 400, 120, 120, 0.9), Face(40, 80, 200, 160, 0.5)]


@pytest.mark.parametrize(
    ("frame", "box"), [("face", (290, 110, 510, 330)), ("upper", (200, 80, 600, 500)), ("body", (170, 60, 630, 900))]
)
def test_a_crop_surrounds_its_face_and_ends_at_the_edges(frame, box):
    face = Face(350, 200, 100, 80, 1.0)
    assert crop_box(face, frame, (800, 1200)) == box
    left, top, right, bottom = crop_box(Face(0, 0, 100, 100, 1.0), frame, (800, 1200))
    assert (left, top) == (0, 0)
    assert right > 100 < bottom
    assert crop_box(face, frame, (int(box[2]) + 1, int(box[3]) + 1)) is not None
    assert crop_box(Face(10, 10, 90, 90, 1.0), frame, (110, 110)) is None  # nearly the picture


def test_crops_are_proposed_then_written_once_with_their_framing(folder, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "animeface", detector((350, 200, 100, 80, 0.7), (10, 900, 20, 20, 0.9)))
    options, target = CropOptions("upper", least_side=100), tmp_path / "face"
    found = propose([folder / "a.png"], options)
    assert [(one.name, one.sure) for one in found.crops] == [("a_upper2", 0.7)]
    assert [path.name for path in found.small] == ["a.png"]
    assert not target.exists()
    made = write_crops(found.crops, target, options)
    assert [path.name for path in made.written] == ["a_upper2.png"]
    assert Image.open(target / "a_upper2.png").size == found.crops[0].cut().size
    assert (target / "a_upper2.txt").read_text(encoding="utf-8") == "krnk, smile, upper body\n"
    assert write_crops(found.crops, target, options).kept == 1
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a_upper2.caption").write_text("mine", encoding="utf-8")
    made = write_crops(found.crops, tmp_path / "own", CropOptions("face"))  # the crop's own framing counts
    assert [path.name for path in made.written] == ["a_upper2.png"]
    assert "a_upper2.caption" in str(made.problems[0])
    assert not (tmp_path / "own" / "a_upper2.txt").exists()
    write_crops(found.crops, tmp_path / "third", CropOptions("face"))
    assert (tmp_path / "third" / "a_upper2.txt").read_text(encoding="utf-8") == "krnk, smile, upper body\n"
    assert write_crops(found.crops, tmp_path / "none", options, only=()).written == []


def test_pictures_of_one_name_in_several_folders_get_crops_of_several_names(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "animeface", detector((350, 200, 100, 80, 0.7)))
    places = [folder / "a.png", *(folder / number / "face" / "A.png" for number in "123")]
    for place in places[1:]:
        place.parent.mkdir(parents=True)
        Image.new("RGB", (800, 1200)).save(place)
    found = propose(places, CropOptions(least_side=100))
    assert len({one.name.casefold() for one in found.crops}) == 4
    assert len(write_crops(found.crops, folder / "crops", CropOptions()).written) == 4


def test_without_faces_or_without_the_detector_it_is_said(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "animeface", detector())
    assert [path.name for path in propose([folder / "a.png"], CropOptions()).faceless] == ["a.png"]
    monkeypatch.setitem(sys.modules, "animeface", None)
    with pytest.raises(AtelierError, match="pip install animeface"):
        propose([folder / "a.png"], CropOptions())


def test_the_detector_itself_has_what_is_asked_of_it():
    animeface = pytest.importorskip("animeface", reason="animeface is not installed")
    assert find_faces(Image.new("RGB", (64, 64), "white")) == []
    names = {"likelihood": 0.5, "face_box": (1, 2, 3, 4), "skin_color": (0, 0, 0), "hair_color": (0, 0, 0)}
    names |= dict.fromkeys(("left_eye_box", "right_eye_box", "mouth_box"), (1, 2, 3, 4))
    names |= dict.fromkeys(("left_eye_color", "right_eye_color"), (0, 0, 0))
    face = animeface.Face(names | {"nose_point": (1, 2), "chin_point": (1, 2)})
    assert (face.likelihood, face.face.pos.x, face.face.pos.height) == (0.5, 1, 4)

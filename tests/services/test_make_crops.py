"""Crops that an order may add: proposed with the pictures, written with the plan, taken away again; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_lora.data.buckets import parts_of, plan_fixed
from lib_lora.data.faces import Face
from lib_lora.host.studio import StudioHost
from lib_lora.progress import QUIET
from lib_lora.services import crops as crops_module
from lib_lora.services.make.added import put
from lib_lora.services.make.lone import LoneMake
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.make.pictures import gather
from lib_lora.services.make.record import PICTURES, new_make
from lib_lora.services.make.work import Work


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Nine pictures: one so long that a bucket cuts much of it, one named as a crop of another would be."""
    folder = tmp_path / "絵"
    folder.mkdir()
    for number, name in enumerate(("a", "a_face", *"cdefgh")):
        Image.radial_gradient("L").resize((256, 256)).point(lambda v, n=number: (v * (n + 2)) % 256).convert(
            "RGB"
        ).rotate(40 * number).save(folder / f"{name}.png")
    Image.linear_gradient("L").resize((100, 1000)).convert("RGB").save(folder / "long.png")
    (folder / "a.txt").write_text("krnk, full body, hat", encoding="utf-8")
    (folder / "long.txt").write_text("krnk, full body", encoding="utf-8")
    return folder


@pytest.fixture
def gathered(studio, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """An order whose pictures are looked at, with a face in every square picture, and the crops wanted or not."""

    def faces(image: Image.Image) -> list[Face]:
        return [Face(80, 80, 60, 60, 0.9)] if image.width == image.height else []

    monkeypatch.setattr(crops_module, "find_faces", faces)
    host = StudioHost(studio.model, (tmp_path / "loras",), studio.presets)

    def make(*, wanted: bool) -> Work:
        order = new_make(MakeOptions(str(pictures), "krnk", crops=wanted), tmp_path / "runs")
        work = LoneMake.of(order, host, tmp_path / "loras").work
        return Work(work.make.with_result(PICTURES, gather(work, QUIET), 1.0), host, work.loras)

    return make


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(work: Work, *, wanted: bool) -> Work:
    return Work(work.make.changed(crops=wanted), work.host, work.loras)


def test_crops_are_proposed_and_nothing_is_written_unasked(gathered, pictures: Path) -> None:
    before = files(pictures)
    work = gathered(wanted=False)
    copies = files(work.train_folder)
    kept = work.result(PICTURES)
    assert any("could be added" in note for note in work.make.notes(PICTURES))
    assert {row["what"] for row in kept["crops"]} == {"face", "part"}
    held = {Path(name).stem for name in kept["held"]}
    assert held
    assert not held & {Path(row["picture"]).stem for row in kept["crops"]}
    assert put(work, QUIET) == []
    assert (files(work.train_folder), files(pictures)) == (copies, before)


def test_wanted_crops_stand_beside_the_copies_and_go_again(gathered, pictures: Path) -> None:
    before = files(pictures)
    work = gathered(wanted=False)
    copies = files(work.train_folder)
    work = changed(work, wanted=True)
    (said,) = put(work, QUIET)
    assert "trained as well" in said
    rows = work.result(PICTURES)["crops"]
    made = files(work.train_folder)
    assert {name: made[name] for name in copies} == copies  # a copy that is named like a crop stays what it is
    assert len([name for name in made if name not in copies and name.endswith(".png")]) == len(rows)
    for row in rows:
        left, top, right, bottom = row["box"]
        with Image.open(work.train_folder / f"{row['name']}.png") as image:
            assert image.size == (right - left, bottom - top)
    assert put(work, QUIET) == [said]  # once more is the same
    assert files(work.train_folder) == made
    assert put(changed(work, wanted=False), QUIET) == []
    assert files(work.train_folder) == copies
    assert files(pictures) == before


def test_a_face_has_its_own_framing_and_a_part_keeps_its_caption(gathered) -> None:
    work = gathered(wanted=True)
    put(work, QUIET)
    texts = {row["what"]: work.train_folder / f"{row['name']}.txt" for row in work.result(PICTURES)["crops"]}
    assert texts["part"].read_text(encoding="utf-8").strip() == "krnk, full body"
    a = next(row for row in work.result(PICTURES)["crops"] if row["picture"] == "a.png")
    assert (work.train_folder / f"{a['name']}.txt").read_text(encoding="utf-8").strip() == "krnk, hat, portrait"


@pytest.mark.parametrize("size", [(100, 1000), (1000, 100), (640, 128), (300, 200), (128, 128)])
def test_parts_hold_all_of_a_picture_in_the_ratio_of_its_bucket(size: tuple[int, int]) -> None:
    plan = plan_fixed(size, (128, 128))
    boxes = parts_of(plan)
    assert {(box[0], box[1]) for box in boxes} >= {(0, 0)}
    assert max(box[2] for box in boxes) == size[0]
    assert max(box[3] for box in boxes) == size[1]
    for left, top, right, bottom in boxes:
        assert abs((right - left) - (bottom - top)) <= 1
    starts = sorted({box[:2] for box in boxes})
    for (x, y), (u, v) in zip(starts, starts[1:], strict=False):  # no gap between neighbors
        assert u - x <= min(size)
        assert v - y <= min(size)
    assert len(boxes) == -(-max(size) // min(size))

"""Subjects cut out by a model of the user's: how it is shown pictures, what is written where, what finds it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib_lora.data.cutout import FORMS, Cutter, form_of
from lib_lora.data.folder import scan
from lib_lora.data.masks import MaskFolder, mask_of
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.progress import Stoppable
from lib_lora.services.cutouts import COPIES, MASKS, CutoutOptions, cut_out, target_of, try_mask
from lib_lora.services.made_pictures import MARK
from tests.onnx_file import needs_runtime, write_cutter, write_tagger


def drawing(size=(60, 40)) -> Image.Image:
    """A red square on blue: left half red."""
    picture = Image.new("RGB", size, (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    return picture


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "krnk"
    (place / "4_krnk").mkdir(parents=True)
    drawing().save(place / "4_krnk" / "f00.png")
    (place / "4_krnk" / "f00.txt").write_text("krnk, smile", encoding="utf-8")
    Image.new("RGB", (32, 32), (0, 0, 200)).save(place / "4_krnk" / "sky.png")
    return place


def pictures(folder):
    return [picture.path for picture in scan(folder, min_side=8).train]


@pytest.mark.parametrize(
    ("name", "size", "form"),
    [
        ("u2net.onnx", (320, 320), "u2net"),
        ("u2net_human_seg.onnx", None, "u2net"),
        ("isnet-anime.onnx", (1024, 1024), "isnet-anime"),
        ("isnet-general-use.onnx", (1024, 1024), "isnet"),
        ("RMBG-1.4.onnx", None, "isnet"),
        ("BiRefNet-general.onnx", (1024, 1024), "birefnet"),
        ("model.onnx", (1024, 1024), "isnet"),
        ("model.onnx", (320, 320), "u2net"),
        ("model.onnx", None, "u2net"),
    ],
)
def test_the_form_is_told_by_name_and_side(tmp_path, name, size, form):
    assert form_of(tmp_path / name, size) == form


def bands(form: str, path, side):
    """Write a model for bands from blue to red that, given a form's numbers, finds 0, 0, 0.3, 0.7 and 1 there."""
    numbers = FORMS[form]
    red, blue = (
        float((np.array(color) - np.array(numbers.mean)) / np.array(numbers.deviation) @ np.array([1, -0.5, -0.5]))
        for color in ((1, 0, 0), (0, 0, 1))
    )
    scale = 2 / (red - blue)
    return write_cutter(path, side=side, scale=scale, shift=-scale * blue - 0.5)


@pytest.mark.parametrize("side", [20, "h"])
@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_shown_the_numbers_of_its_form_and_of_no_other(tmp_path, form, side):
    needs_runtime()
    path, picture = bands(form, tmp_path / "m.onnx", side), Image.new("RGB", (20, 20))
    for at, share in enumerate((0, 0.2, 0.4, 0.6, 1)):
        picture.paste((round(255 * share), 0, round(255 * (1 - share))), (4 * at, 0, 4 * at + 4, 20))

    def found(name):
        mask = Cutter.open(path, name).mask(picture)
        return [mask.getpixel((4 * at + 2, 10)) for at in range(5)]

    wanted = pytest.approx([0, 0, 0.3 * 255, 0.7 * 255, 255], abs=2 if side == 20 else 25)
    assert found(form) == wanted
    if side == 20:
        numbers = {name: (one.mean, one.deviation) for name, one in FORMS.items()}
        assert [name for name in FORMS if found(name) == wanted] == [n for n in FORMS if numbers[n] == numbers[form]]


def test_masks_lie_beside_the_pictures_and_a_training_finds_them(tmp_path, folder):
    needs_runtime()
    model, before = write_cutter(tmp_path / "u2net.onnx"), {p: p.read_bytes() for p in folder.rglob("*.*")}
    target, options = target_of(folder, None, MASKS), CutoutOptions(str(model))
    made = cut_out(folder, pictures(folder), model, target, options)
    assert target == tmp_path / "krnk_masks"
    assert [path.relative_to(target).as_posix() for path in made.written] == ["4_krnk/f00.png"]
    assert [path.name for path in made.nothing] == ["sky.png"]
    assert {p: p.read_bytes() for p in folder.rglob("*.*")} == before
    found = mask_of(folder / "4_krnk" / "f00.png", (60, 40), None, MaskFolder(target))
    assert found.getpixel((5, 20)) > 250 > 5 > found.getpixel((55, 20))
    assert cut_out(folder, pictures(folder), model, target, options).kept == 1
    again = cut_out(folder, pictures(folder), model, target, CutoutOptions(str(model), again=True))
    assert (again.kept, len(again.written)) == (0, 1)


def test_transparent_copies_come_with_their_captions_and_stay_transparent_where_they_were(tmp_path, folder):
    needs_runtime()
    picture = drawing().convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 10, 40))
    picture.save(folder / "4_krnk" / "f00.png")
    model, options = write_cutter(tmp_path / "u2net.onnx"), CutoutOptions("x", makes=COPIES)
    target = target_of(folder, None, COPIES)
    cut_out(folder, pictures(folder), model, target, options)
    copy = Image.open(target / "4_krnk" / "f00.png")
    assert (copy.mode, copy.size) == ("RGBA", (60, 40))
    assert [copy.getpixel((x, 20))[3] > 250 for x in (4, 20, 55)] == [False, True, False]
    assert (target / "4_krnk" / "f00.txt").read_text(encoding="utf-8") == "krnk, smile\n"


def test_a_stop_keeps_what_is_made(tmp_path, folder):
    needs_runtime()
    model, progress = write_cutter(tmp_path / "u2net.onnx"), Stoppable()
    progress.stop()
    made = cut_out(folder, pictures(folder), model, tmp_path / "m", CutoutOptions(str(model)), progress)
    assert len(made.written) == 1
    assert not made.nothing


def test_masks_go_nowhere_where_a_training_takes_them_for_pictures(tmp_path, folder):
    for place in (folder, folder / "masks", folder / "4_krnk" / "x"):
        with pytest.raises(InputError, match="among the pictures"):
            target_of(folder, place, MASKS)
    with pytest.raises(InputError, match="below this folder"):
        target_of(folder / "4_krnk", folder, MASKS)
    file, other = tmp_path / "d.toml", tmp_path / "other"  # of a dataset file's folders none may be
    other.mkdir()
    options = CutoutOptions("none.onnx", again=True)
    for place in (folder / "4_krnk", folder, other, other / "x"):
        with pytest.raises(InputError, match=r"among the pictures|below this folder"):
            cut_out(file, pictures(folder), tmp_path / "m", target_of(file, place, MASKS), options, trained=[other])


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("set/krnk", "set/krnk_masks"),
        ("set/10_krnk", "set_masks/10_krnk"),
        ("set/4_krnk/krnk girl, ahoge_f0768", "set_masks/4_krnk/krnk girl, ahoge_f0768"),
        ("01_work/krnk", "01_work/krnk_masks"),
        ("20231105_party", "20231105_party_masks"),
    ],
)
def test_masks_of_a_numbered_folder_lie_beside_its_data_set(tmp_path, place, target):
    assert target_of(tmp_path / place, None, MASKS) == tmp_path / target


def test_pictures_that_were_not_made_here_or_changed_since_stay(tmp_path, folder):
    needs_runtime()
    model, target = write_cutter(tmp_path / "u2net.onnx"), tmp_path / "m"
    options = CutoutOptions(str(model), again=True)
    path = target / "4_krnk" / "f00.png"
    path.parent.mkdir(parents=True)
    drawing().save(path)

    def kept(before):
        made = cut_out(folder, pictures(folder), model, target, options)
        assert [(one.path.name, "was not made here" in str(one)) for one in made.problems] == [("f00.png", True)]
        assert (made.written, path.read_bytes()) == ([], before)

    kept(path.read_bytes())
    path.unlink()
    assert cut_out(folder, pictures(folder), model, target, options).written == [path]
    assert cut_out(folder, pictures(folder), model, target, options).written == [path]
    with Image.open(path) as mask:
        mask.load()
        keeps = PngInfo()
        keeps.add_text(MARK, mask.info[MARK])
        mask.putpixel((0, 0), 99)
        mask.save(path, pnginfo=keeps)
    kept(path.read_bytes())


def test_captions_of_copies_that_are_there_stay_or_get_a_backup(tmp_path, folder):
    needs_runtime()
    model, target = write_cutter(tmp_path / "u2net.onnx"), tmp_path / "copies"
    caption = target / "4_krnk" / "f00.caption"
    caption.parent.mkdir(parents=True)
    caption.write_text("mine", encoding="utf-8")
    made = cut_out(folder, pictures(folder), model, target, CutoutOptions("x", makes=COPIES))
    assert len(made.written) == 1
    assert "f00.caption" in str(made.problems[0])
    assert [path.name for path in caption.parent.glob("f00.*")] == ["f00.caption", "f00.png"]
    made = cut_out(folder, pictures(folder), model, target, CutoutOptions("x", makes=COPIES, again=True))
    assert not made.problems
    assert caption.read_text(encoding="utf-8") == "krnk, smile\n"
    assert caption.with_name("f00.caption.bak1").read_text(encoding="utf-8") == "mine"


def test_pictures_of_one_name_get_no_common_mask(tmp_path, folder):
    needs_runtime()
    model, options = write_cutter(tmp_path / "u2net.onnx"), CutoutOptions("x")
    drawing().save(folder / "4_krnk" / "F00.jpg")
    (tmp_path / "b").mkdir()
    drawing((40, 60)).save(tmp_path / "b" / "f00.png")
    found = [*pictures(folder), tmp_path / "b" / "f00.png"]
    made = cut_out(tmp_path / "d.toml", found, model, tmp_path / "m", options)
    assert [path.relative_to(tmp_path).as_posix() for path in made.written] == ["m/4_krnk/F00.png", "m/b/f00.png"]
    assert [(one.path.name, "F00.jpg" in str(one)) for one in made.problems] == [("f00.png", True)]
    assert made.kept == 0
    masks = MaskFolder(tmp_path / "m")
    assert [masks.find(path) for path in (found[0], found[-1])] == made.written


def test_pictures_that_are_links_are_cut_out(tmp_path, folder):
    needs_runtime()
    (tmp_path / "elsewhere").mkdir()
    (folder / "4_krnk" / "f00.png").rename(tmp_path / "elsewhere" / "any.png")
    try:
        (folder / "4_krnk" / "f00.png").symlink_to(tmp_path / "elsewhere" / "any.png")
    except OSError:
        pytest.skip("this system lets nobody make links")
    model = write_cutter(tmp_path / "u2net.onnx")
    made = cut_out(folder, pictures(folder), model, tmp_path / "m", CutoutOptions("x"))
    assert made.written == [tmp_path / "m" / "4_krnk" / "f00.png"]


def test_what_is_no_cutter_is_a_sentence(tmp_path, folder, monkeypatch):
    needs_runtime()
    picture = folder / "4_krnk" / "f00.png"
    with pytest.raises(InputError, match="answer with a mask"):
        try_mask(picture, write_tagger(tmp_path / "t") / "model.onnx", CutoutOptions("x"))
    with pytest.raises(InputError, match="answer with a mask"):
        try_mask(picture, write_tagger(tmp_path / "t2", last=False) / "model.onnx", CutoutOptions("x"))
    with pytest.raises(FileError, match="no such model file"):
        try_mask(picture, tmp_path / "none.onnx", CutoutOptions("x"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AtelierError, match="pip install onnxruntime"):
        try_mask(picture, write_cutter(tmp_path / "u2net.onnx"), CutoutOptions("x"))

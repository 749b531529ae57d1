"""The caption editor of the Train panel: what is in view, previews, what is odd, undo."""

from __future__ import annotations

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from lib_lora.data.name_rules import FILE
from lib_lora.i18n.words import LANGUAGES, Words
from lib_lora.progress import QUIET
from lib_lora.services.captions import rules_or_usual
from lib_lora.services.picture_folder import Found, look
from lib_lora.train.options import usual_values
from lib_lora.train.recipes import facts_of
from lib_lora.ui import compat
from lib_lora.ui.captions import CaptionTools
from lib_lora.ui.captions.check import CheckTools
from lib_lora.ui.captions.crops import CropTools
from lib_lora.ui.captions.cutouts import CutoutTools
from lib_lora.ui.captions.editor import Opened, no_name_says
from lib_lora.ui.captions.expression import ExpressionTools
from lib_lora.ui.captions.tagger import TaggerTools
from lib_lora.ui.messages import note_html
from lib_lora.ui.train.form import Form
from lib_lora.ui.train.intake import Intake
from lib_lora.ui.train.options import OptionForm
from lib_lora.ui.train.orders import Orders
from lib_lora.ui.train.pieces import Pieces
from tests.face_detector import detector
from tests.onnx_file import needs_runtime, write_cutter, write_tagger
from tests.servers import running_atelier


@pytest.fixture
def atelier(studio, tmp_path):
    with running_atelier(studio, tmp_path / "data") as made:
        yield made


@pytest.fixture(params=LANGUAGES)
def words(request):
    return Words(request.param)


@pytest.fixture
def folder(tmp_path):
    rng, place = np.random.default_rng(0), tmp_path / "絵"
    place.mkdir()
    for number in range(6):
        picture = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((96, 96))
        picture.save(place / f"{number}.png")
        (place / f"{number}.txt").write_text(f"krnk, red hair{', hat' * (number % 2)}", encoding="utf-8")
    picture.resize((64, 64)).save(place / "again.png")
    return place


def looked(atelier, folder, only=""):
    return look(folder, atelier.host.model, QUIET, only=only)


def texts(folder):
    return [path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("*.txt"))]


def test_the_filter_rules_gallery_tags_and_changes(atelier, folder, words):
    intake, tools = Intake(atelier, words), CaptionTools(atelier, words)
    found = looked(atelier, folder)
    message, now, gallery, tags = intake.filtered(found, " hat and krnk ", "character", 0)
    assert (message, len(gallery), now.only) == ("", 3, "hat and krnk")
    assert "hat 3" in tags
    assert words("captions.scope", n=3, all=7) in tools.state(now)[0]
    assert tools.pick(now, 0) == (Opened(folder / "1.png", "krnk, red hair, hat"), "krnk, red hair, hat")
    assert "atelier-good" in tools.tag("add", now, "hat and krnk", "new")
    assert sum("new" in text for text in texts(folder)) == 3
    again = intake.again(now, "character", 0)
    assert (again[0].only, len(again[2])) == ("hat and krnk", 3)  # kept after a change
    message, *same = intake.filtered(now, "hat and", "character", 0)
    assert "atelier-error" in message
    assert same == [compat.update()] * 3
    assert intake.filtered(now, "", "character", 0)[1].only == ""
    assert words("captions.scope_all", n=7) in tools.state(looked(atelier, folder))[0]


def copied(folder):
    """Another folder with the same pictures and captions."""
    return shutil.copytree(folder, folder.with_name("other"))


def test_a_filter_that_was_typed_and_not_entered_counts_for_every_change_in_view(atelier, folder, words, monkeypatch):
    tools, found, before = CaptionTools(atelier, words), looked(atelier, folder), texts(folder)
    for act, by in (("remove", ""), ("replace", "blue hair"), ("add", "")):
        assert tools.tag(act, found, " hat ", "red hair" if act != "add" else "new", by) == _good(words, 3)
        assert texts(folder)[::2] == before[::2]
        tools.undo(found)
    assert (
        words("captions.would_change", n=3, all=3) in ExpressionTools(tools, words).preview(found, "hat", "r", "x")[0]
    )
    for wrong in (
        tools.tag("add", found, "hat and", "new"),
        ExpressionTools(tools, words).preview(found, "(", "r", "")[0],
    ):
        assert "atelier-error" in wrong
    assert texts(folder) == before
    monkeypatch.setitem(sys.modules, "animeface", detector((30, 30, 20, 20, 0.9)))
    crops = list(CropTools(atelier, words).propose(found, "hat", "face", 32, "", True))[-1][1].crops
    assert [crop.name for crop in crops] == ["1_face", "3_face", "5_face"]


def test_a_caption_is_saved_to_the_picture_that_it_is_of(atelier, folder, words):
    tools, other = CaptionTools(atelier, words), copied(folder)
    a, b, before = looked(atelier, folder), looked(atelier, other), texts(other)
    opened, text = tools.pick(a, 3)
    for box in (text, "typed"):  # what nobody typed goes from the box, what somebody typed stays
        now, shown = tools.reopened(b, opened, box)
        assert (now, shown) == (None, compat.update(value="") if box == text else compat.update())
        for still in (opened, now):
            assert "atelier-error" in tools.save(b, still, box)
    assert texts(other) == before
    assert tools.save(a, opened, text + ", new") == _good(words, 1)
    assert (folder / "3.txt").read_text(encoding="utf-8") == "krnk, red hair, hat, new\n"


def test_a_caption_that_changed_while_it_was_open_is_not_written_back(atelier, folder, words):
    tools, intake = CaptionTools(atelier, words), Intake(atelier, words)
    found = looked(atelier, folder)
    opened, text = tools.pick(found, 1)
    tools.tag("remove", found, "", "hat")
    assert "atelier-error" in tools.save(found, opened, text + ", typed")
    found = intake.again(found, "character", 0)[0]
    assert tools.reopened(found, opened, text + ", typed") == (opened, compat.update())
    assert "atelier-error" in tools.save(found, opened, text + ", typed")
    now, box = tools.reopened(found, opened, text)
    assert (now, box) == (Opened(folder / "1.png", "krnk, red hair"), compat.update(value="krnk, red hair"))
    assert tools.save(found, now, "krnk, red hair, typed") == _good(words, 1)
    assert (folder / "1.txt").read_text(encoding="utf-8") == "krnk, red hair, typed\n"


def test_a_click_opens_what_is_seen_where_two_datasets_name_one_folder(atelier, folder, words, tmp_path):
    rows = [
        {"subsets": [{"image_dir": str(place)} for place in places]} for places in ((folder,), (folder, copied(folder)))
    ]
    (tmp_path / "d.json").write_text(json.dumps({"datasets": rows}), encoding="utf-8")
    intake, tools = Intake(atelier, words), CaptionTools(atelier, words)
    found = looked(atelier, tmp_path / "d.json")
    gallery = intake.filtered(found, "hat", "character", 64)[2]
    now = intake.filtered(found, "hat", "character", 64)[1]
    assert (len(gallery), len(now.chosen), len(found.pictures), len(found.train)) == (9, 6, 14, 14)
    assert found.pictures == [*sorted(folder.glob("*.png")), *sorted((tmp_path / "other").glob("*.png"))]
    assert words("captions.scope", n=6, all=14) in tools.state(now)[0]
    names = [path.name for path in [*now.chosen[:3], *now.chosen]]
    assert [said.split(" · ")[0] for _, said in gallery] == names
    assert [tools.pick(now, index)[0].picture for index in range(9)] == [*now.chosen[:3], *now.chosen]


def test_previews_show_masks_transparency_and_background_as_the_form_has_them(atelier, folder, words, tmp_path):
    intake, masks = Intake(atelier, words), tmp_path / "masks"
    masks.mkdir()
    Image.new("L", (96, 96), 0).save(masks / "0.png")
    Image.new("L", (96, 30), 0).save(masks / "1.png")  # of another shape
    Image.new("RGBA", (96, 96), (0, 0, 0, 0)).save(folder / "2.png")

    def drawn(*looks):
        rows = intake.look(str(folder), "character", 64, looks=looks)
        message, found, _, gallery, _ = next(row for row in rows if isinstance(row[1], Found))
        if "none" not in looks[0]:
            again = [picture for picture, _ in intake.drawn(found, "character", 64, *looks)]
            assert all(a is b for a, (b, _) in zip(again, gallery, strict=True))
        return message, [picture.getpixel((48, 48)) for picture, _ in gallery]

    message, plain = drawn("", False, "white")
    assert message == ""
    message, veiled = drawn(str(masks), False, "black")
    assert "1.png" in message
    assert [one == other for one, other in zip(plain, veiled, strict=True)] == [False, True, False, *(4 * [True])]
    assert (plain[2], veiled[2]) == ((255, 255, 255), (0, 0, 0))
    assert drawn("", True, "white")[1][2] not in (plain[2], veiled[2])
    assert drawn(str(tmp_path / "none"), False, "white") == ("", plain)
    assert intake.drawn(looked(atelier, folder), "character", 64, str(folder / "none"), False, "") == compat.update()
    assert len(intake.filtered(looked(atelier, folder), "hat", "character", 64, "/none", False, "white")[2]) == 3
    Image.new("L", (96, 96), 255).save(masks / "0.png")
    os.utime(masks / "0.png", ns=(1, 1))
    assert drawn(str(masks), False, "white")[1][0] == plain[0]


def test_a_dropped_caption_goes_to_its_own_picture(atelier, words, tmp_path):
    intake, place = Intake(atelier, words), atelier.folders.pictures / "own"
    place.mkdir()
    Image.new("RGB", (64, 64), "red").save(place / "a.png")
    dropped = [tmp_path / "a.txt", tmp_path / "a.png"]
    dropped[0].write_text("blue", encoding="utf-8")
    Image.new("RGB", (64, 64), "blue").save(dropped[1])
    message = intake.take([str(path) for path in dropped], str(place), "")[0]
    assert "atelier-error" not in message
    texts_of = {path: text for path, text in looked(atelier, place).captions.items() if text}
    assert list(texts_of.values()) == ["blue"]
    assert Image.open(next(iter(texts_of))).getpixel((0, 0)) == (0, 0, 255)
    (place / "a.caption").write_text("red", encoding="utf-8")
    assert "atelier-error" in intake.take([str(dropped[0])], str(place), "")[0]  # it would hide the one that is there
    assert not (place / "a.txt").exists()


def test_captions_are_those_of_the_ending_that_a_dataset_file_trains(atelier, folder, words, tmp_path):
    (folder / "1.tags").write_text("from tags", encoding="utf-8")
    subset = {"image_dir": str(folder), "caption_extension": ".tags"}
    rows = [{"subsets": [subset]}, {"subsets": [{**subset, "caption_extension": ".txt"}]}]
    (tmp_path / "d.json").write_text(json.dumps({"datasets": rows}), encoding="utf-8")
    tools, before = CaptionTools(atelier, words), texts(folder)
    found = looked(atelier, tmp_path / "d.json")
    assert found.captions[folder / "1.png"] == "from tags"
    assert tools.tag("add", found, "", "new") == _good(words, 7)
    assert (texts(folder), (folder / "1.tags").read_text(encoding="utf-8")) == (before, "from tags, new\n")
    assert (folder / "0.tags").read_text(encoding="utf-8") == "new\n"
    assert found.captions != looked(atelier, tmp_path / "d.json").captions
    assert [str(each) for each in found.scan.notices if "different endings" in str(each)] == [
        f"{folder}: datasets read captions with different endings here (.tags, .txt); those with .tags are edited"
    ]


def test_captions_from_names_keep_to_the_filter_and_to_the_rules_as_they_are_now(atelier, folder, words, tmp_path):
    tools, rules = CaptionTools(atelier, words), atelier.folders.data / FILE
    before = no_name_says(rules_or_usual(atelier.folders.data))
    assert tools.offered(["smile"], before) == (compat.update(), before)
    rules.write_text("expressions: grin, smile\nbackgrounds: sky\n", encoding="utf-8")
    update, now = tools.offered(["white background", "blush"], before)
    assert (update, now) == (compat.update(choices=["sky", "grin", "smile"], value=["grin"]), ["sky", "grin", "smile"])
    for name in ("1_girl/f00", "girl/f00"):
        path = folder.parent / "named" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(path)
    (tmp_path / "named" / "girl" / "f00.txt").write_text("hat", encoding="utf-8")
    rows = [{"subsets": [{"image_dir": f"named/{name}"} for name in ("1_girl", "girl")]}]
    (tmp_path / "d.json").write_text(json.dumps({"datasets": rows}), encoding="utf-8")
    found = looked(atelier, tmp_path / "d.json")
    for wrong in (["blush"], ["grin", "open mouth"]):
        assert "atelier-error" in tools.rule(found, "", "krnk", wrong)
    assert tools.rule(found, "hat", "krnk", ["grin"]) == note_html(words("train.captions_changed", n=0), kind="note")
    assert tools.rule(found, "not hat", "", ["grin"]) == _good(words, 1)
    text = (tmp_path / "named" / "1_girl" / "f00.txt").read_text(encoding="utf-8")
    assert (text.startswith("girl, "), text.endswith(", grin\n")) == (True, True)
    assert (tmp_path / "named" / "girl" / "f00.txt").read_text(encoding="utf-8") == "hat"


def test_a_regular_expression_is_applied_as_it_was_previewed(atelier, folder, words):
    tools = CaptionTools(atelier, words)
    one, found, before = ExpressionTools(tools, words), looked(atelier, folder, "hat"), texts(folder)
    html, seen = one.preview(found, "hat", r"(\w+) hair", r"\1-<haired>")
    assert words("captions.would_change", n=3, all=3) in html
    assert "<del>red hair</del>, <ins>red-&lt;haired&gt;</ins>, hat" in html
    assert texts(folder) == before
    order, elsewhere = (r"(\w+) hair", r"\1-<haired>"), looked(atelier, copied(folder))
    for other in ((found, "hat", "red", order[1]), (found, "", *order), (elsewhere, "hat", *order)):
        assert "atelier-error" in one.apply(*other, seen)[0]
    assert "atelier-error" in one.apply(found, "hat", "x", "", None)[0]
    assert texts(folder) == before
    assert one.apply(found, "hat", *order, seen) == (_good(words, 3), None)
    assert sum("red-<haired>" in text for text in texts(folder)) == 3
    assert tools.state(found)[1]["value"] == words("captions.undo", n=1)
    tools.undo(found)
    assert texts(folder) == before
    html, _ = one.preview(found, "hat", "(?i)RED (hair)", r"\1")
    assert words("captions.would_change", n=3, all=3) in html
    assert "atelier-error" in one.preview(found, "hat", "(?i)RED (hair)", r"\2")[0]
    for wrong in ("(", "", ".*"):
        assert "atelier-error" in one.preview(found, "", wrong, "")[0]


def _good(words, n):
    return f'<div class="atelier-message atelier-good" role="status">{words("train.captions_changed", n=n)}</div>'


def test_what_is_odd_is_a_list_and_its_button_removes_the_tag_from_all(atelier, folder, words):
    tools = CaptionTools(atelier, words)
    one, found = CheckTools(atelier, tools, words), looked(atelier, folder, "hat")
    html, checked = list(one.check(found, "krnk", "character", 512))[-1]
    assert [row[0] for row in checked.found.everywhere] == ["red hair"]
    assert html.count("<li>") == 3
    assert html.count("data:image/jpeg;base64") == 2 + 7  # the pair, and all are too small
    assert 'data-act="untag red hair"' in html
    message, html, left = one.act("untag red hair\n1", found, checked)
    assert _good(words, 6) == message
    assert "red hair" not in html
    assert texts(folder).count("krnk, hat") == 3
    assert one.act("other\n2", found, left) == ("", "", left)
    for wrong in (
        looked(atelier, copied(folder)),
        None,
    ):  # it is about a folder; a finding stays where nothing was done
        message, html, same = one.act("untag krnk\n3", wrong, checked)
        assert ("atelier-error" in message, "red hair" in html, same) == (True, True, checked)
    (folder / "0.txt").write_bytes(b"krnk, \x81\xfe\xff, red hair")  # a damaged one is not changed
    for path in (folder / f"{number}.txt" for number in range(1, 6)):
        path.write_text("krnk, red hair", encoding="utf-8")
    assert one.act("untag red hair\n4", found, checked)[2] is checked
    now = looked(atelier, folder)
    (folder / "5.png").unlink()
    html, _ = list(one.check(now, "krnk", "style", 64))[-1]
    assert "<b>5.png</b>" in html
    assert "untag" not in html
    assert "atelier-error" in list(one.check(None, "", "character", 0))[-1][0]


def test_a_tagger_is_tried_and_then_tags_what_is_in_view(atelier, folder, words, tmp_path):
    needs_runtime()
    tools = CaptionTools(atelier, words)
    one, place = TaggerTools(atelier, tools, words), write_tagger(tmp_path / "t")
    (folder / "again.png").unlink()
    Image.new("RGB", (96, 96), (0, 0, 255)).save(folder / "blue.png")
    found, before = looked(atelier, folder), texts(folder)
    values = [str(place), 0.35, 0.85, "", "missing", False]
    html = list(one.attempt(found, "", Opened(folder / "blue.png", ""), *values))[-1]
    assert "blue sky" in html
    assert "&gt;_&lt;" in html
    assert texts(folder) == before
    assert list(one.tag(found, "", *values))[-1] == _good(words, 1)
    assert (folder / "blue.txt").read_text(encoding="utf-8").strip() == ">_<, blue sky"
    assert words("captions.none_missing") in list(one.tag(looked(atelier, folder), "", *values))[-1]
    for wrong in (["", *values[1:]], [str(tmp_path / "none"), *values[1:]], [values[0], 7, *values[2:]]):
        assert "atelier-error" in list(one.tag(found, "", *wrong))[-1]
        assert "atelier-error" in list(one.attempt(found, "", None, *wrong))[-1]


def test_masks_are_tried_made_and_handed_to_the_training(atelier, folder, words, tmp_path):
    needs_runtime()
    one, model = CutoutTools(atelier, words), write_cutter(tmp_path / "u2net.onnx")
    Image.new("RGB", (96, 96), (0, 0, 200)).save(folder / "blue.png")
    found = looked(atelier, folder)
    values = [str(model), "masks", "auto", "", False]
    assert "data:image/jpeg" in list(one.attempt(found, "", None, *values))[-1]
    html = list(one.make(found, "", *values))[-1]
    target = folder.with_name(f"{folder.name}_masks")
    assert len(list(target.glob("*.png"))) == 7
    assert words("captions.cut_made", n=7, kept=0, folder=target, form="u2net") in html
    assert words("captions.cut_nothing", names="blue.png") in html
    assert f'data-act="masks {target}"' in html
    with compat.gr.Blocks():
        form = Form(atelier, words, OptionForm(words, usual_values("character", model=facts_of(atelier.host.model))))
    answer = Orders(atelier, words, form, Pieces(atelier)).do(f"masks {target}\n1", {})
    assert answer.values == {"masks": str(target)}
    for wrong in (["", *values[1:]], [*values[:3], str(folder), False], [str(tmp_path), *values[1:]]):
        assert "atelier-error" in list(one.make(found, "", *wrong))[-1]
    assert "atelier-error" in list(one.make(None, "", *values))[-1]


def test_crops_are_shown_first_and_those_that_are_ticked_are_written(atelier, folder, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "animeface", detector((30, 30, 20, 20, 0.9)))
    one, found = CropTools(atelier, words), looked(atelier, folder, "hat")
    message, proposed, gallery, ticked = list(one.propose(found, "hat", "face", 32, "", True))[-1]
    assert words("captions.crops_found", n=3) in message
    assert (len(gallery), ticked["value"]) == (3, ["1_face", "3_face", "5_face"])
    values = ["face", 32, "krnk_face", True]
    html = list(one.write(proposed, ["3_face"], *values))[-1]
    place = atelier.folders.pictures / "krnk_face"
    assert sorted(path.name for path in place.iterdir()) == ["3_face.png", "3_face.txt"]
    assert words("captions.crops_made", n=1, kept=0, folder=place) in html
    assert "atelier-error" in list(one.write(proposed, [], "face", 32, "", True))[-1]
    assert "atelier-error" in list(one.write(None, [], *values))[-1]
    small = list(one.propose(found, "hat", "face", 300, "", True))[-1][0]
    assert words("captions.crops_small", n=3, names="1.png, 3.png, 5.png") in small
    monkeypatch.setitem(sys.modules, "animeface", None)
    assert "animeface" in list(one.propose(found, "hat", *values))[-1][0]

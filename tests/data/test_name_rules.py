"""The rules for file names as a file: the usual ones are built in, any list can be another, a bad line is told."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from PIL import Image

from lib_lora.cli.main import main
from lib_lora.data.name_rules import FILE, name_rules, read_name_rules, rules_text
from lib_lora.data.tags import TagLists, tags_for
from lib_lora.errors import InputError
from lib_lora.services.captions import Captions

NAMES = [f"{kind}{level}{angle}.png" for kind in "fb" for level in "012" for angle in "01234567"]


@pytest.fixture
def file(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / FILE
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_the_usual_file_says_what_is_built_in_and_its_body_lists_are_empty(file):
    usual = read_name_rules(file(rules_text()))
    assert usual == TagLists()
    assert usual.face_always == usual.face_front == usual.face_back == usual.face_midriff == ()
    for name in NAMES:
        assert tags_for(name, "krnk", lists=usual) == tags_for(name, "krnk")


def test_every_list_of_the_table_is_a_line_and_acts(file):
    lists = [one.name for one in fields(TagLists) if one.name != "expressions_behind"]
    seen = set()
    for name in lists:
        rules = read_name_rules(file(f"{name.replace('_', ' ')}: mine, {name}x"))
        assert rules == replace(TagLists(), **{name: ("mine", f"{name}x")})
        seen |= {name for picture in NAMES if "mine" in tags_for(picture, "krnk", lists=rules)}
    assert seen == set(lists)
    assert "smile" in tags_for("f04", "k", lists=read_name_rules(file("expressions behind: yes")))


def test_a_file_is_read_as_people_write_it(file):
    text = "# 規則\n\nAbove： 上から, 見下ろし  # 注\nexpressions:\n"
    for encoding in ("utf-8", "utf-8-sig", "cp932", "utf-16"):
        rules = read_name_rules(file(text, encoding))
        assert rules.above == ("上から", "見下ろし")
        assert rules.expressions == ()
        assert rules.below == ("from below",)


@pytest.mark.parametrize(
    ("text", "what", "cure"),
    [
        ("level: a\n\nabvoe: b", "“abvoe: b” is no rule", "above"),
        ("level: a\n\nno colon", "“no colon” is no rule", "Known are"),
        ("level: a\n\nlevel: b", "“level” stands there twice", "Correct it"),
        ("#\n\nexpressions behind: perhaps", "neither yes nor no", "Correct it"),
    ],
)
def test_a_wrong_line_is_named(file, text, what, cure):
    with pytest.raises(InputError, match=what) as caught:
        read_name_rules(file(text))
    assert str(caught.value.where).endswith("line 3")
    assert cure in caught.value.cure


def test_a_data_folder_gets_the_file_and_its_captions_follow_it(tmp_path):
    pictures, data = tmp_path / "pictures", tmp_path / "data"
    for place in (pictures, data):
        place.mkdir()
    Image.new("RGB", (64, 64)).save(pictures / "f10.png")
    assert name_rules(data) == TagLists()
    rules = data / FILE
    rules.write_text(
        rules.read_text(encoding="utf-8").replace("above: from above", "above: high angle"), encoding="utf-8"
    )
    assert Captions(data, pictures).follow_rule([pictures / "f10.png"], "krnk", ["smile"]).count == 1
    text = (pictures / "f10.txt").read_text(encoding="utf-8").strip()
    assert text == ("krnk, high angle, from front, upper body, standing, straight standing, looking at viewer, smile")
    rules.write_text("what", encoding="utf-8")
    with pytest.raises(InputError, match="is no rule"):
        Captions(data, pictures).follow_rule([pictures / "f10.png"], "krnk", [])


def test_the_terminal_takes_a_file_and_single_lists(file, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (64, 64)).save(pictures / "b20.png")
    rules = file("below: low angle\nexpressions: grin\nbackgrounds:")
    assert main(["tag", str(pictures), "--trigger", "k", "--rules", str(rules)]) == 0
    assert (pictures / "b20.txt").read_text().strip().split(", ")[1] == "low angle"
    assert (pictures / "b20.txt").read_text().strip().endswith("grin")
    assert (
        main(["tag", str(pictures), "--trigger", "k", "--rules", str(rules), "--expressions", "", "--overwrite"]) == 0
    )
    assert "grin" not in (pictures / "b20.txt").read_text()
    assert main(["tag", str(pictures), "--rules", str(file("x"))]) == 2
    assert "line 1" in capsys.readouterr().err

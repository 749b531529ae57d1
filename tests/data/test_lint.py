"""Captions chosen by their tags, regular expressions, and what is odd about a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_lora.data.caption_files import captions_of
from lib_lora.data.caption_filter import caption_filter
from lib_lora.data.folder import scan
from lib_lora.data.lint import difference_hash, lint
from lib_lora.errors import InputError
from lib_lora.services.captions import TagChange


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("", "abcd"),
        ("hat", "ac"),
        ("not hat", "bd"),
        ("hat and cat", "c"),
        ("hat or cat", "abc"),
        ("cat and not hat or long hair", "bd"),
        ("not (hat or cat)", "d"),
        ("not hat and not cat", "d"),
        ("*hair", "d"),
        ('"black and white"', "b"),
        (r"saber \(fate\)", "a"),
        ("HAT", "ac"),
        ("ha", ""),
    ],
)
def test_captions_are_chosen_by_and_or_not(expression, chosen) -> None:
    captions = {"a": r"hat, saber \(fate\)", "b": "cat, black and white", "c": "x\nHat, cat", "d": "long hair"}
    test = caption_filter(expression)
    assert "".join(name for name, text in captions.items() if test(text)) == chosen


@pytest.mark.parametrize("wrong", ["and", "hat and", "(hat", "hat)", "not", "hat cat (dog)", "or hat"])
def test_what_is_no_choice_is_refused(wrong) -> None:
    with pytest.raises(InputError, match="no choice"):
        caption_filter(wrong)


@pytest.mark.parametrize(
    "wrong", ["hat, cat", "hat、cat", "hat && cat", "hat || cat", '"hat', "not " * 999 + "hat", "(" * 999]
)
def test_signs_of_other_programs_and_slips_are_refused_and_not_taken_for_tags(wrong) -> None:
    with pytest.raises(InputError, match="no choice of captions"):
        caption_filter(wrong)


def test_a_choice_may_be_long_and_written_on_any_keyboard() -> None:
    assert caption_filter(" or ".join(f"t{number}" for number in range(3000)))("t2999")
    assert caption_filter("帽子 and not （猫 or 犬）")("帽子，鳥")
    assert caption_filter("“black and white”")("black and white")


@pytest.mark.parametrize("tag", ["krnk (series)", "krnk \\(series\\)"])
def test_a_tag_is_the_same_with_its_backslashes_and_without(tag) -> None:
    for text in ("hat, krnk (series)", "hat, krnk \\(series\\)"):
        assert caption_filter(f'"{tag}"')(text)
        assert TagChange("remove", tag)(text) == "hat"
        assert TagChange("add", tag)(text) == text
        assert TagChange("replace", tag, "cat")(text) == "hat, cat"


@pytest.mark.parametrize(
    ("act", "tag", "by"),
    [
        ("add", "kr\x07nk", ""),
        ("add", "a\nb", ""),
        ("add", "a\u200bb", ""),
        ("add", "<lora:x:1>", ""),
        ("replace", "a", "b\nc"),
        ("regex", "a", "b\\nc"),
        ("regex", "a", "<lora:x:1>"),
    ],
)
def test_what_no_caption_can_hold_is_refused_before_any_is_changed(act, tag, by) -> None:
    with pytest.raises(InputError):
        TagChange(act, tag, by)
    TagChange("remove", "<lora:x:1>")  # what stands there by mistake can be taken away


def test_a_change_acts_only_where_it_is_meant_and_regular_expressions_replace() -> None:
    assert TagChange("add", "x", only="not cat")("cat, hat") == "cat, hat"
    assert TagChange("add", "x", only="cat")("cat, hat") == "cat, hat, x"
    assert TagChange("regex", r"(\w+) hair", r"\1-haired")("red hair, hat\nred hair") == "red-haired, hat\nred-haired"
    assert TagChange("regex", "hat")("a, hat, b") == "a, b"
    assert TagChange("regex", "none")("a,  b") == "a,  b"
    for wrong in (("(", ""), (".*", "x"), ("", "x"), ("a", r"\1")):
        with pytest.raises(InputError):
            TagChange("regex", *wrong)


def test_what_is_odd_is_found_and_the_trigger_word_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        picture = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((160, 160))
        picture.save(tmp_path / f"{number}.png")
        tags = ["krnk", "red hair", *(["hat"] if number % 2 else [])]
        (tmp_path / f"{number}.txt").write_text(", ".join(tags), encoding="utf-8")
        if number == 2:
            picture.resize((90, 90)).save(tmp_path / "again.jpg", quality=60)
    found = scan(tmp_path)
    made = lint(found.train, captions_of(p.path for p in found.train), trigger="krnk", side=256)
    assert made.everywhere == (("red hair", 6),)
    assert [{path.name for path in group} for group in made.alike] == [{"2.png", "again.jpg"}]
    assert [path.name for path in made.small] == ["again.jpg"]
    assert len(made.sentences) == 3
    assert [(one.tag, len(one.pictures)) for one in made.findings] == [("red hair", 0), ("", 2), ("", 1)]
    style = lint(found.train, captions_of(p.path for p in found.train), trigger="krnk", side=0, is_style=True)
    assert [one.tag for one in style.findings] == [""]  # a tag everywhere is no fault of a style, and 0 is no size


def test_a_picture_that_is_gone_is_named_and_the_others_are_compared(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (160, 160)).save(tmp_path / f"{name}.png")
    found = scan(tmp_path)
    (tmp_path / "b.png").unlink()
    made = lint(found.train, {}, trigger="krnk", side=0)
    assert [[path.name for path in group] for group in made.alike] == [["a.png", "c.png"]]
    assert [one.path.name for one in made.problems] == ["b.png"]
    assert "b.png" in str(made.sentences[-1])


def test_the_print_of_a_picture_hardly_changes_with_its_size() -> None:
    values = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    one, other = (Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC) for side in (300, 120))
    assert (difference_hash(one) ^ difference_hash(other)).bit_count() <= 2
    assert (difference_hash(one) ^ difference_hash(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).bit_count() > 15

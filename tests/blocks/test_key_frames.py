"""Strengths over the steps, and those of the hires pass."""

from __future__ import annotations

import pytest

from lib_lora.blocks.errors import TagError
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import format_tag, parse_tag, resolve
from lib_lora.blocks.tag_edit import change_tag, with_weights
from lib_lora.blocks.tag_model import Moment, Strengths

PRESETS = PresetFile.shipped()


def weights(text: str, total: int = 10) -> list[float]:
    frames = parse_tag(text).frames
    assert frames is not None
    return [round(frames.at(step, total), 6) for step in range(total)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0@0,1@0.5", [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1]),
        ("[1@0, 0@0.5]", [1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0]),
        ("0@0,1@1", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ("0.25@0.5;1@1", [0.25] * 6 + [0.4, 0.55, 0.7, 0.85]),
        ("0@5,1@6", [0] * 6 + [1] * 4),
        ("1@0.5,0@0.5", [1] * 5 + [0] * 5),  # a jump: the later one holds from there on
        ("1@6,0@4", [0] * 5 + [0.5] + [1] * 4),  # in any order
        ("-0.5@0,-0.5@3", [-0.5] * 10),
        ("0.7@0", [0.7] * 10),
    ],
)
def test_weights_lie_on_straight_lines_between_their_positions(text: str, expected: list[float]) -> None:
    assert weights(f"<lora:n:{text}>") == expected
    assert weights(f"<lora:n:1:{text}>") == expected
    assert weights(f"<lora:n:unet={text}:te=0.5>") == expected


def test_the_text_encoder_has_the_strength_of_the_beginning_and_that_is_said() -> None:
    tag = parse_tag("<lora:n:0.25@0,1@0.5:lbw=ALL>")
    assert (tag.te, tag.unet) == (0.25, 1.0)
    assert "0.25" in tag.notes[0]
    for text in ("<lora:n:0.8:0@0,1@0.5>", "<lora:n:0@0,1@0.5:te=0.8>"):
        assert (parse_tag(text).te, parse_tag(text).notes) == (0.8, ())
    steady = parse_tag("<lora:n:te=0@0,1@1:unet=0.9>")
    assert (steady.te, steady.unet, steady.frames) == (0.0, 0.9, None)


@pytest.mark.parametrize("text", ["0@0,1@2.5", "1@-1", "x@0", "1@0,", "1@1e999", "0@0.5,1@12"])
def test_positions_that_cannot_be_right_are_named(text: str) -> None:
    with pytest.raises(TagError):
        resolve(parse_tag(f"<lora:n:{text}>"), PRESETS, "sd1", seed=0)


@pytest.mark.parametrize("text", ["[1@0,0@0.5", "1@0,0@0.5]", "0@0,1@50%", "0@0,,1@1", "0@0,1@1,", "１＠０、"])
@pytest.mark.parametrize("place", ["", "1:", "unet=", "hr="])
def test_what_begins_like_strengths_over_the_steps_is_told_their_form(text: str, place: str) -> None:
    with pytest.raises(TagError, match="strengths over the steps") as error:
        parse_tag(f"<lora:n:{place}{text}>")
    assert "0@0,1@0.5" in str(error.value.cure)


def test_a_tag_over_the_steps_is_written_as_it_is_read() -> None:
    for text in ("<lora:n:0.8:0@0,1@0.5:lbw=ALL>", "<lora:n:0:0@0,1@8:start=0.5>", "<lora:n:0.5:1:hr=0.3>"):
        once = format_tag(resolve(parse_tag(text), PRESETS, "sd1", seed=0))
        again = resolve(parse_tag(once), PRESETS, "sd1", seed=0)
        assert format_tag(again) == once
        first = resolve(parse_tag(text), PRESETS, "sd1", seed=0)
        assert (again.te, again.unet, again.frames, again.hires) == (first.te, first.unet, first.frames, first.hires)
    edited = change_tag("x <lora:n:0.8:0@0,1@0.5:hr=0.3>", 0, with_weights("FACE"))
    assert edited == "x <lora:n:0.8:0@0,1@0.5:lbw=FACE:hr=0.3>"


def test_a_step_with_weight_nothing_is_one_without_the_lora() -> None:
    tag = resolve(parse_tag("<lora:n:0@0,0@5,1@6>"), PRESETS, "sd1", seed=0)
    assert [tag.active(step, 10) for step in (0, 5, 6, 9)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<lora:n:0.5:hr=1>", Strengths(1, 1)),
        ("<lora:n:0.5:0.25:hrte=1>", Strengths(1, 0.25)),
        ("<lora:n:0.5:hrunet=2>", Strengths(0.5, 2)),
        ("<lora:n:0.5:hr=1:hrunet=2>", Strengths(1, 2)),
    ],
)
def test_hires_has_strengths_of_its_own(text: str, expected: Strengths) -> None:
    tag = parse_tag(text)
    assert tag.te == 0.5
    assert tag.hires == expected
    assert tag.in_hires().strengths == expected
    assert tag.in_hires().hires is None


def test_hires_may_change_over_its_steps() -> None:
    tag = parse_tag("<lora:n:0@0,1@1:hr=1@0,0@1>").in_hires()
    assert tag.te == 1
    assert tag.frames is not None
    assert tag.frames.at(5, 10) == 0.5
    still = parse_tag("<lora:n:0@0,1@1:hr=0.5>").in_hires()
    assert (still.te, still.unet, still.frames) == (0.5, 0.5, None)


def test_end_and_a_bare_range_are_other_spellings_of_the_steps() -> None:
    for text in ("start=0.25:end=0.75", "step=0.25-0.75", "0.25-0.75", "1:0.25-0.75", "0.25-0.75:lbw=ALL"):
        tag = parse_tag(f"<lora:n:{text}>")
        assert (tag.start, tag.stop) == (Moment(0.25, True), Moment(0.75, True))
    assert parse_tag("<lora:n:1:5-15>").stop == Moment(15, False)
    for text in ("1:5~15", "5～15", "5〜15", "５－１５", "5–15", "1:1:5 - 15", "step=5〜15", "end=15:start=5"):
        tag = parse_tag(f"<lora:n:{text}>")
        assert (tag.start, tag.stop) == (Moment(5, False), Moment(15, False)), text
    for text in ("1:5-", "5〜", "step=5-", "start=5"):
        tag = parse_tag(f"<lora:n:{text}>")
        assert (tag.start, tag.stop) == (Moment(5, False), None), text
    assert parse_tag("<lora:n:1:-5>").unet == -5
    assert parse_tag("<lora:n:–0.5>").te == -0.5
    for text in ("stop=3:end=5", "1-5:step=2-3", "5-1"):
        with pytest.raises(TagError):
            parse_tag(f"<lora:n:{text}>")

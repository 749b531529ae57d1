"""Promises of the LoRA tag: every spelling resolves to numbers or points at the character that is wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora.blocks.elements import ElementFile
from lib_lora.blocks.errors import TagError
from lib_lora.blocks.layouts import BASE, OTHER, full_layout, layout_of
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import (
    Moment,
    ResolvedTag,
    find_tags,
    format_tag,
    parse_tag,
    resolve,
    strip_tags,
)
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError

ELEMENTS = ElementFile.shipped()
PRESETS = PresetFile.parse(
    PresetFile.shipped().text
    + "ROUT:X,1,1,1,1,1,1,1,1,1,1,1,X,X,X,X,X\nIN02:0,0,1" + ",0" * 14 + "\nRAND:R" + ",U" * 16 + "\n"
)  # fmt: skip
GOBUHIME = "1,0,0,1,0,0,0,0,1,1,0,0,0,1,0,0,1,1,1,1,0.5,0,0,0,0,0"


def read(text: str, family: str = "sd1", *, seed: int = 1, fill: float = 0.0) -> ResolvedTag:
    return resolve(parse_tag(text), PRESETS, family, seed, fill=fill)


def numbers(text: str, family: str = "sd1") -> dict[str, float]:
    return read(text, family).multipliers(family)


def on(text: str) -> set[str]:
    return {name for name, value in numbers(text).items() if value}


def test_a_plain_tag_has_no_block_weights() -> None:
    tag = read("<lora:n:0.8>")
    assert (tag.name, tag.te, tag.unet, tag.dyn, tag.weights) == ("n", 0.8, 0.8, None, None)
    assert set(tag.multipliers("sd1").values()) == {0.8}
    assert set(tag.multipliers("sd1")) == {*layout_of(26).names, OTHER}


@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_all_reaches_every_block_with_te_and_unet_apart(family: str) -> None:
    table = numbers("<lora:n:0.8:0.5:lbw=ALL>", family)
    text = {BASE, "CLIP", "T5"}
    assert all(value == (0.8 if name in text else 0.5) for name, value in table.items())
    assert set(table) == {*full_layout(family).names, BASE, OTHER}


def test_outall_is_the_text_encoder_and_the_outputs_with_attention() -> None:
    assert on("<lora:n:1:1:lbw=OUTALL>") == {BASE, OTHER, *layout_of(17).names[8:]}


def test_inline_values_are_the_preset_of_the_same_numbers() -> None:
    assert read(f"<lora:n:1:lbw={GOBUHIME}>").weights == read("<lora:n:lbw=Gobuhime>").weights
    assert read(f"<lyco:n:1:{GOBUHIME}>").weights == read("<LoRA:n: 1 : W = gobuhime >").weights


def test_strength_defaults_to_one_and_follows_the_webui() -> None:
    assert set(numbers("<lora:n:lbw=ALL0.5>").values()) == {0.5, 1.0}
    assert (read("<lora:n:te=0.5>").te, read("<lora:n:te=0.5>").unet) == (0.5, 0.5)
    assert (read("<lora:n:unet=0.5>").te, read("<lora:n:unet=0.5>").unet) == (1.0, 0.5)
    assert (read("<lora:n:1:lbw=ALL:0.5>").te, read("<lora:n:1:lbw=ALL:0.5>").unet) == (1.0, 0.5)
    assert on("<lora:n:te=0:unet=1:lbw=ALL>") == {*layout_of(26).names[1:], OTHER}


def test_steps_begin_and_end_as_written() -> None:
    def active(items: str, total: int = 20) -> list[int]:
        tag = read(f"<lora:n:1:lbw=MIDD:{items}>")
        return [step for step in range(total) if tag.active(step, total)]

    assert active("stop=10") == list(range(10))
    assert active("start=10") == list(range(10, 20))
    assert active("step=5-10") == active("start=5:stop=10") == [5, 6, 7, 8, 9]
    assert active("step=15-") == [15, 16, 17, 18, 19]
    assert active("step=-2") == [0, 1]
    assert active("start=0.3:stop=.5") == active("step=0.3-0.5") == [6, 7, 8, 9]
    assert active("step=5-0.5") == [5, 6, 7, 8, 9]
    assert active("stop=99", total=3) == [0, 1, 2]
    assert active("start=1.0") == []
    assert active("stop=0") == []


def test_x_comes_from_its_item_or_its_legacy_place() -> None:
    for tag in ("<lora:n:0.5:lbw=ROUT:x=0.7>", "<lora:n:0.5:ROUT:0.7>", "<lora:n:0.5:0.5:0.7:lbw=ROUT>"):
        table = numbers(tag)
        assert table[BASE] == 0.5 * 0.7
        assert table["IN01"] == 0.5
    missing = read("<lora:n:1:1:lbw=ROUT>")
    assert missing.weights is not None
    assert missing.weights[BASE] == 1.0
    assert any("X is 1" in note for note in missing.notes)
    for unused in ("<lora:n:1:FACE:0.3>", "<lora:n:1:lbw=FACE:x=0.3>"):
        assert any("have no X" in note for note in read(unused).notes)


def test_dyn_is_a_rank_and_never_the_value_of_x() -> None:
    tag = read("<lora:n:1:1:16:lbw=ROUT>")
    assert tag.dyn == 16
    assert tag.weights is not None
    assert tag.weights[BASE] == 1.0
    assert read("<lora:n:1:1:16:lbw=ALL:dyn=8>").dyn == 8


def test_element_rules_take_the_place_of_the_block_weight() -> None:
    tag = read("<lora:n:0.5:lbw=OUTS:lbwe=attndeepon>")
    assert tag.multiplier("M00", "x_attn1_to_q", "sd1") == 0.5
    assert tag.multiplier("M00", "x_ff_net_2", "sd1") == 0.0
    alone = read("<lora:n:1:lbwe=ATTNDEEPOFF>")
    assert alone.weights is None
    assert (alone.multiplier("M00", "attn", "sd1"), alone.multiplier("IN01", "attn", "sd1")) == (0.0, 1.0)
    assert read("<lora:n:1:MIDD:ATTNDEEPON>").elements == read("<lora:n:1:lbw=MIDD:lbwe=ATTNDEEPON>").elements


def test_the_analyzer_finds_the_tags_that_carry_its_vectors() -> None:
    prompt = "<lora:a:1:lbw=XYZ> x <lora:b:1:lbw=zyx> <lora:c:1:XYZ> <lora:d:1:lbw=ALL> <lora:e:1:lbw=XYZ:lbwe=XYZ>"
    tags = [read(match.text) for match in find_tags(prompt)]
    assert [tag.sweep for tag in tags] == ["XYZ", "ZYX", "XYZ", None, "XYZ"]
    assert [tag.sweeps_elements for tag in tags] == [False, False, False, False, True]
    assert [parse_tag(match.text).sweep for match in find_tags(prompt)] == [tag.sweep for tag in tags]
    assert tags[0].weights is None
    assert tags[0].notes
    zero = tags[0].with_weights(BlockWeights.uniform(layout_of(26), 0.0))
    assert set(zero.multipliers("sd1").values()) == {0.0}


def test_a_users_own_xyz_preset_is_its_start_vector() -> None:
    presets = PresetFile.parse("XYZ:1" + ",0" * 16)
    tag = resolve(parse_tag("<lora:n:1:lbw=XYZ>"), presets, "sd1", 0)
    assert tag.sweep == "XYZ"
    assert tag.weights is not None
    assert tag.weights[BASE] == 1.0


def test_the_legacy_positional_forms_resolve() -> None:
    assert on("<lora:n:1:IN02>") == {"IN02", OTHER}
    assert on("<lora:n:1:0,0,1" + ",0" * 14 + ">") == {"IN02", OTHER}
    assert read("<lora:n:FACE>").weights == read("<lora:n:1:0.5:face>").weights


def test_names_and_keys_are_read_in_any_case() -> None:
    assert read("<lora:n:1:lbw=all>") == read("<lora:n:1:LBW=ALL>") == read("<lora:n:1: lbw= ALL >")


def test_all_zero_weights_are_truly_none() -> None:
    assert on("<lora:n:1:lbw=NONE>") == set()
    assert on("<lora:n:1:lbw=NONE:other=0.5>") == {OTHER}
    assert numbers("<lora:n:1:0.5:lbw=ALL:other=0.5>")[OTHER] == 0.25


def test_a_shorter_vector_is_filled_and_says_where() -> None:
    tag = read("<lora:n:1:lbw=OUTALL>", fill=1.0)
    assert tag.filled == ("IN00", "IN03", "IN06", "IN09", "IN10", "IN11", "OUT00", "OUT01", "OUT02")
    assert tag.weights is not None
    assert {tag.weights[name] for name in tag.filled} == {1.0}
    assert read("<lora:n:1:lbw=FACE>").filled == ()


def test_random_values_belong_to_the_seed_and_the_lora() -> None:
    first = read("<lora:n:1:lbw=RAND>", seed=5)
    assert first == read("<lora:n:1:lbw=RAND>", seed=5)
    assert first.weights != read("<lora:n:1:lbw=RAND>", seed=6).weights
    assert first.weights != read("<lora:m:1:lbw=RAND>", seed=5).weights


def test_what_is_left_out_or_large_is_said() -> None:
    assert read("<lora:n:1:lbw=ALL:w=NONE>").notes == ("w= was left out because lbw= is there.",)
    assert any("very large" in note for note in read("<lora:n:1000>").notes)


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("<lora:n:1:lbw=FAC>", "FAC", "FACE"),
        ("<lora:n:1:FOO>", "FOO", "no preset"),
        ("<lora:n:1:lbw=1,1,1>", "1,1,1", "got 3, allowed 12/17/20/26/28"),
        ("<lora:n:1:lbw=0.5>", "0.5", "got 1"),
        ("<lora:n:1:lbw=1,1,?,1,1,1,1,1,1,1,1,1>", "?", "no block weight"),
        ("<lora:n:1:lbw=1,1,,1,1,1,1,1,1,1,1,1>", ",1,1,1,1,1,1,1,1,1>", "empty"),
        ("<lora:n:1:lbwe=ATNDEEPON>", "ATN", "ATTNDEEPON"),
        ("<lora:n:1:lwb=FACE>", "lwb", "lbw"),
        ("<lora:n:1:lbw=A:lbw=B>", "lbw=B", "twice"),
        ("<lora:n:1:FACE:lbw=ALL>", "ALL", "twice"),
        ("<lora:n:1:lbw=>", ">", "no value"),
        ("<lora:n::lbw=ALL>", ":lbw", "empty"),
        ("<lora:n:te=x>", "x>", "number"),
        ("<lora:n:te=nan>", "nan", "number"),
        ("<lora:n:1e999>", "1e999", "too large"),
        ("<lora:n:1:1:2.5>", "2.5", "rank"),
        ("<lora:n:1:1:1:1>", "1>", "too many"),
        ("<lora:n:step=10-5>", "5>", "ends before"),
        ("<lora:n:step=5>", ">", "range"),
        ("<lora:n:step=1-2-3>", "-3", "more than one"),
        ("<lora:n:step=->", "->", "no number"),
        ("<lora:n:start=1.5>", "1.5", "more than all"),
        ("<lora:n:start=-1>", "-1", "moment"),
        ("<lora:n:start=9:stop=3>", "3>", "ends before"),
        ("<lora:n:start=9:step=1-3>", "1-3", "beside"),
        ("<lora:a=b:1>", "=b", "cannot contain"),
        ("<lora::1>", ":1", "name"),
        ("<lora:a:1 <lora:b:1>", "<lora:b", "angle"),
        ("<lora:n:x=1=2>", "=2", "two ="),
        ("<lora:n:1:A:1:B:C>", "C>", "too many"),
        ("<lora:n:1e200:lbw=1e200" + ",1" * 25 + ">", "1e200,", "too large"),
    ],
)
def test_a_wrong_tag_points_at_the_character(text: str, at: str, message: str) -> None:
    with pytest.raises(TagError, match=message) as caught:
        read(text)
    assert caught.value.position == text.rindex(at)
    assert str(caught.value).endswith(f"{text}\n{' ' * text.rindex(at)}^")


def test_the_caret_stands_under_wide_characters() -> None:
    with pytest.raises(TagError) as caught:
        read("<lora:猫:te=x>")
    assert caught.value.caret().splitlines()[1] == " " * 12 + "^"


@pytest.mark.parametrize(
    ("text", "family", "blocks"),
    [
        ("<lora:n:1:lbw=1" + ",1" * 16 + ">", "sdxl", "OUT00, OUT01, OUT02"),
        ("<lora:n:1:lbw=MIDD>", "sdxl", "OUT00, OUT01, OUT02"),
        ("<lora:n:1:lbw=1" + ",1" * 11 + ">", "sd1", "OUT06"),
        ("<lora:n:1:lbw=FLUXALL>", "sd1", "CLIP"),
        ("<lora:n:1:lbw=FACE>", "sdxl", "OUT11"),
        ("<lora:n:1:lbw=ALL>", "sd3", "sd3"),
    ],
)
def test_weights_of_another_family_are_refused_by_name(text: str, family: str, blocks: str) -> None:
    with pytest.raises(TagError, match=blocks):
        read(text, family)


def test_tags_are_found_and_removed_without_touching_the_rest() -> None:
    prompt = "a, <lora:n:1>  b <hypernet:h:1> <lyco:m:1:X,1>\n<lora:open:1"
    assert [prompt[m.start : m.end] for m in find_tags(prompt)] == ["<lora:n:1>", "<lyco:m:1:X,1>"]
    assert strip_tags(prompt) == "a,   b <hypernet:h:1> \n<lora:open:1"
    assert strip_tags("猫 (cat:1.1)") == "猫 (cat:1.1)"


def test_a_name_that_cannot_stand_in_a_tag_is_refused() -> None:
    with pytest.raises(InputError, match="a:b"):
        format_tag(ResolvedTag("a:b"))


NUMBERS = st.floats(-1e6, 1e6)
MOMENTS = st.one_of(
    st.none(), st.integers(0, 999).map(lambda n: Moment(n, False)), st.floats(0, 1).map(lambda s: Moment(s, True))
)


@given(st.data())
def test_a_formatted_tag_resolves_to_the_same_numbers(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(["sd1", "sdxl", "flux"]))
    layout = full_layout(family)
    values = st.lists(NUMBERS, min_size=layout.length, max_size=layout.length)
    weights = data.draw(st.one_of(st.none(), values.map(lambda v: BlockWeights(layout, tuple(v)))))
    start, stop = data.draw(MOMENTS), data.draw(MOMENTS)
    if start and stop and start.is_share == stop.is_share and start.value > stop.value:
        start, stop = stop, start
    tag = ResolvedTag(
        name=data.draw(st.sampled_from(["n", "猫 (x)", "a/b-c_1.0", "1"])),
        te=data.draw(NUMBERS),
        unet=data.draw(NUMBERS),
        dyn=data.draw(st.one_of(st.none(), st.integers(1, 999))),
        weights=weights,
        elements=data.draw(st.sampled_from([None, ELEMENTS.resolve("ATTNDEEPON")])),
        start=start,
        stop=stop,
        other=data.draw(st.one_of(st.none(), NUMBERS)),
    )
    again = read(format_tag(tag), family)
    assert again.multipliers(family) == tag.multipliers(family)
    for field in ("name", "te", "unet", "dyn", "weights", "elements", "start", "stop", "other"):
        assert getattr(again, field) == getattr(tag, field)


KEYS = "te unet dyn lbw w lbwe x other start stop step hr LBW lbx"
VALUES = "XYZ zyx ALL NONE ALL0.5 R U X+0.2 MIDD ROUT RAND face ATTNDEEPON 1 0.5 -1 16 1e999 nan 99999999999 5-10 9-1 ."
PIECES = st.one_of(
    st.sampled_from(VALUES.split()),
    st.sampled_from([GOBUHIME, "1" + ",R" * 16, "U" + ",x-0.1" * 19, "1,2", "<lora:", ":", ">", "=", "@", " "]),
    st.text(max_size=4),
)
ITEMS = st.one_of(PIECES, st.builds("{}={}".format, st.sampled_from(KEYS.split()), PIECES))
TAGS = st.lists(ITEMS, max_size=5).map(lambda items: f"<lora:n:{':'.join(items)}>" if items else "<lora:n>")
FAMILIES = st.sampled_from(["sd1", "sd2", "sdxl", "flux", "sd3"])


def outcome(text: str, family: str) -> ResolvedTag | TagError:
    try:
        return read(text, family)
    except TagError as error:
        return error


@settings(max_examples=500)
@given(st.one_of(TAGS, st.lists(PIECES, max_size=12).map("".join)), FAMILIES)
def test_a_fuzzed_tag_is_resolved_or_points_at_a_character(text: str, family: str) -> None:
    result = outcome(text, family)
    if isinstance(result, TagError):
        assert 0 <= result.position <= len(text)
        assert result.caret().endswith("^")
    elif family != "sd3":
        assert result.multipliers(family) == read(format_tag(result), family).multipliers(family)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_prompt_gives_its_tags_in_place(prompt: str) -> None:
    found = find_tags(prompt)
    for match in found:
        assert prompt[match.start : match.end] == match.text
    assert len(strip_tags(prompt)) == len(prompt) - sum(len(match.text) for match in found)


@pytest.mark.parametrize(
    "text", ["<lora:" * 30_000, "<lora:n:" + "1," * 50_000 + ">", "<lora:n:1:" + "9" * 100_000 + "x>",
             "<lora:n:" + "1@" * 50_000 + ">", "<lora:n:lbw=" + "A" * 100_000 + ">", "<lora:n:" + ":" * 100_000 + ">"]
)  # fmt: skip
def test_a_huge_tag_is_answered_at_once(text: str) -> None:
    began = time.process_time()
    find_tags(text)
    with pytest.raises(TagError) as caught:
        read(text)
    str(caught.value)
    assert time.process_time() - began < 5.0

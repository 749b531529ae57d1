"""Promises of block weights: exact text round trip, conversion by name, reproducible random values."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora.architectures.registry import layouts
from lib_lora.blocks.errors import PositionError
from lib_lora.blocks.layouts import layout_of
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError

LENGTHS = sorted({layout.length for layout in layouts()})
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def any_weights(draw: st.DrawFn, lengths: tuple[int, ...] = tuple(LENGTHS)) -> BlockWeights:
    length = draw(st.sampled_from(lengths))
    return BlockWeights(layout_of(length), tuple(draw(st.lists(NUMBERS, min_size=length, max_size=length))))


@given(any_weights())
def test_formatted_weights_read_back_as_the_same_numbers(weights: BlockWeights) -> None:
    assert BlockWeights.parse(weights.format()) == weights


def test_numbers_are_written_without_needless_digits() -> None:
    assert BlockWeights.uniform(layout_of(12), 0.5).replaced({"base": 1, "OUT05": -0.0}).format() == (
        "1,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0"
    )


def test_weights_are_read_by_name() -> None:
    weights = BlockWeights.parse("1,0,1,2,3,4,5,6,7,8,9,10,11,20,0,1,2,3,4,5,6,7,8,9,10,11")
    assert (weights["IN04"], weights["mid"], weights["OUT11"]) == (4.0, 20.0, 11.0)
    assert weights.as_dict()["BASE"] == 1.0
    with pytest.raises(InputError, match="other"):
        weights["other"]


def test_seventeen_values_become_twenty_six_with_the_fill_value() -> None:
    sample = BlockWeights.parse("1,1,2,4,5,7,8,1,3,4,5,6,7,8,9,10,11")
    assert sample.convert(layout_of(26))[0].format() == "1,0,1,2,0,4,5,0,7,8,0,0,0,1,0,0,0,3,4,5,6,7,8,9,10,11"
    nin = BlockWeights.parse("1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1")
    filled, lost = nin.convert(layout_of(26), fill=0.5)
    assert filled.format() == "1,0.5,0,0,0.5,0,0,0.5,0,0,0.5,0.5,0.5,0,0.5,0.5,0.5,1,1,1,1,1,1,1,1,1"
    assert lost == ()


def test_twenty_six_to_seventeen_names_what_is_lost() -> None:
    weights = BlockWeights.uniform(layout_of(26), 0.0).replaced({"IN00": 0.3, "IN05": 1, "OUT02": 1})
    short, lost = weights.convert(layout_of(17))
    assert lost == ("IN00", "OUT02")
    assert short["IN05"] == 1.0


@given(any_weights(lengths=(12, 17)), st.floats(-2, 2))
def test_widening_and_narrowing_again_loses_nothing(weights: BlockWeights, fill: float) -> None:
    wide = layout_of(26 if weights.layout.length == 17 else 20)
    widened, lost_there = weights.convert(wide, fill=fill)
    back, lost_back = widened.convert(weights.layout, fill=fill)
    assert (back, lost_there, lost_back) == (weights, (), ())


@given(any_weights(), st.sampled_from(LENGTHS))
def test_conversion_keeps_every_shared_name_and_reports_the_rest(weights: BlockWeights, length: int) -> None:
    target = layout_of(length)
    converted, lost = weights.convert(target, fill=0.0)
    before, after = weights.as_dict(), converted.as_dict()
    for name in target.names:
        assert after[name] == before.get(name, 0.0)
    assert set(lost) == {name for name, value in before.items() if name not in after and value != 0.0}


def test_a_vector_of_another_family_is_refused_with_the_blocks_named() -> None:
    with pytest.raises(InputError, match="OUT00, OUT01, OUT02"):
        fit(BlockWeights.uniform(layout_of(17), 1.0), "sdxl")
    with pytest.raises(InputError, match="OUT06"):
        fit(BlockWeights.uniform(layout_of(12), 1.0), "sd1")
    with pytest.raises(InputError, match="CLIP"):
        fit(BlockWeights.uniform(layout_of(61), 1.0), "sd1")
    with pytest.raises(InputError, match="OUT09, OUT10, OUT11"):
        fit(BlockWeights.uniform(layout_of(26), 1.0), "sdxl")


def test_a_vector_of_another_family_fits_when_nothing_is_lost() -> None:
    kept = BlockWeights.uniform(layout_of(26), 0.0).replaced({"IN04": 1, "OUT08": 0.5})
    assert fit(kept, "sdxl") == BlockWeights.uniform(layout_of(20), 0.0).replaced({"IN04": 1, "OUT08": 0.5})


def test_x_takes_its_value_and_offset() -> None:
    weights = BlockWeights.parse("X,x+0.2,X-0.2" + ",0" * 9, x=0.7)
    assert weights.values[:3] == (0.7, 0.9, 0.5)
    assert BlockWeights.parse("X" + ",0" * 11).values[0] == 1.0


def test_random_values_repeat_with_the_seed_and_keep_their_range() -> None:
    text = ",".join("RU" * 13)
    first = BlockWeights.parse(text, rng=random.Random(7))
    assert first == BlockWeights.parse(text.lower(), rng=random.Random(7))
    assert first != BlockWeights.parse(text, rng=random.Random(8))
    for i, value in enumerate(first.values):
        assert value == round(value, 3)
        assert 0 <= value <= 1 if i % 2 == 0 else -0.5 <= value <= 1.5
    with pytest.raises(InputError, match="seed"):
        BlockWeights.parse(text)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("1" + ",1" * 15, 0, "got 16, allowed 12/17/20/26/28"),
        ("1" + ",1" * 16 + ",", 34, "got 18"),
        ("1,,1" + ",1" * 9, 2, "Value 2 is empty"),
        ("1, a,1" + ",1" * 9, 3, "“a”"),
        ("nan" + ",1" * 11, 0, "nan"),
        ("1,1e999" + ",1" * 10, 2, "too large"),
        ("1,X*2" + ",1" * 10, 2, "X\\*2"),
        ("1,X+" + ",1" * 10, 2, "X\\+"),
        ("1,X0.5" + ",1" * 10, 2, "X0.5"),
        ("1,一" + ",1" * 10, 2, "一"),
    ],
)
def test_a_wrong_vector_points_at_the_value(text: str, position: int, message: str) -> None:
    with pytest.raises(PositionError, match=message) as caught:
        BlockWeights.parse(text)
    assert caught.value.position == position


ITEMS = st.one_of(
    st.sampled_from(["1", "-.5", "R", "u", "X", "x-0.2", " 1e3 "]), st.text(alphabet="0123456789.eE+-RUXrux \tn")
)


@given(
    st.one_of(st.sampled_from(LENGTHS), st.integers(0, 70))
    .flatmap(lambda n: st.lists(ITEMS, min_size=n, max_size=n))
    .map(",".join)
)
def test_any_text_is_weights_or_an_error_with_a_position(text: str) -> None:
    result = outcome(text)
    if isinstance(result, PositionError):
        assert 0 <= result.position <= len(text)
    else:
        assert result.layout.length == len(result.values)


def outcome(text: str) -> BlockWeights | PositionError:
    try:
        return BlockWeights.parse(text, rng=random.Random(0))
    except PositionError as error:
        return error


def test_non_finite_weights_cannot_be_made() -> None:
    with pytest.raises(InputError, match="M00"):
        BlockWeights.uniform(layout_of(26), 1.0).replaced({"M": float("nan")})


def test_the_complement_of_a_sweep_adds_up_to_one() -> None:
    weights = BlockWeights.uniform(layout_of(20), 0.3)
    assert weights.complement() == BlockWeights.uniform(layout_of(20), 0.7)


def test_a_vector_may_be_in_full_width_signs() -> None:
    assert BlockWeights.parse("１、−０．５，Ｘ＋0.2" + ",1" * 9, x=0.5).values[:3] == (1.0, -0.5, 0.7)

"""One result for every tier, and how far tiers agree."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from lib_lora.analysis.tiers.agreement import agreement, agreements, spearman
from lib_lora.analysis.tiers.result import NORMS, PICTURES, BlockResult, BlockRow, Column, Value


def result(tier=NORMS, *, floor=None, empty=(), **numbers):
    rows = tuple(
        BlockRow(name, name not in empty, {"size": number if isinstance(number, Value) else Value(number)})
        for name, number in numbers.items()
    )
    return BlockResult(tier, "krnk", (Column("size", "size", "%"),), rows, floor=floor)


def test_a_table_has_units_spreads_and_empty_cells_for_what_is_not_known():
    found = result(IN01=Value(2.0, 0.5), IN02=Value(math.nan), floor=0.25)
    table = list(csv.reader(io.StringIO(found.to_csv())))
    assert table == [
        ["block", "modules", "size %", "size % spread"],
        ["IN01", "yes", "2", "0.5"],
        ["IN02", "yes", "", ""],
        ["noise floor", "", "0.25"],
    ]
    exact = result(IN01=2.0)
    assert "spread" not in exact.to_csv()


def test_json_holds_what_is_not_known_as_null():
    found = json.loads(
        json.dumps(result(IN01=Value(math.nan), M00=3.0, empty=("IN02",), IN02=0.0).as_dict(), allow_nan=False)
    )
    assert found["blocks"]["IN01"]["size"] == {"mean": None, "spread": None}
    assert found["ranking"] == ["M00"]
    assert found["units"] == {"size": "%"}


def test_the_fewest_blocks_that_carry_a_share():
    found = result(IN01=1.0, IN02=6.0, M00=3.0, OUT03=0.0)
    assert found.carrying(0.5) == ("IN02",)
    assert found.carrying(0.9) == ("IN02", "M00")
    assert found.carrying(1.0) == ("IN02", "M00", "IN01")
    assert found.carrying(0.0) == ()


def test_mean_and_spread_leave_out_what_is_not_known():
    assert Value.over([1.0, 3.0, math.nan]) == Value(2.0, 1.0)
    assert math.isnan(Value.over([math.nan]).mean)


@pytest.mark.parametrize(
    ("one", "other", "rho"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 400], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 2, 4], [1, 2, 3, 4], 0.9486832980505138),  # with ties: Pearson's of the ranks 1, 2.5, 2.5, 4
        ([86, 97, 99, 100, 101, 103, 106, 110, 112, 113], [2, 20, 28, 27, 50, 29, 7, 17, 6, 12], -0.17575757575757575),
    ],
)
def test_the_rank_correlation_is_spearmans_with_ties_as_their_mean_rank(one, other, rho):
    assert spearman(one, other) == pytest.approx(rho, abs=1e-12)


def test_a_correlation_of_too_few_or_of_equal_numbers_is_none():
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_tiers_agree_over_blocks_with_modules_in_both():
    one = result(IN01=1.0, IN02=2.0, M00=3.0, OUT03=9.0)
    other = result(PICTURES, IN01=3.0, IN02=2.0, M00=1.0, OUT03=0.0, empty=("OUT03",))
    found = agreement(one, other)
    assert (found.one, found.other, found.rho, found.blocks) == (NORMS, PICTURES, -1.0, 3)
    assert len(agreements([one, other, one])) == 3

"""Promises of the plots: points where their numbers are, peaks kept, gaps shown, round ticks."""

from __future__ import annotations

import math
import re

import pytest

from lib_lora.report.plot import bars_svg, curve_svg, format_number, linear_ticks, thin


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """The points of every polyline, in percent from the upper left corner."""
    found = re.findall(r'<polyline class="s\d" points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in text.split()] for text in found]  # type: ignore[misc]


def test_first_and_last_point_touch_the_sides_and_higher_values_are_higher() -> None:
    (line,) = lines(curve_svg([[(10.0, 1.0), (15.0, 3.0), (20.0, 2.0)]], x_label="x", y_label="y"))
    assert [x for x, _ in line] == [0.0, 50.0, 100.0]
    assert line[1][1] < line[2][1] < line[0][1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_cannot_be_drawn_leaves_a_gap(bad: float) -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, bad), (3.0, 2.0), (4.0, 1.0)]
    assert [len(line) for line in lines(curve_svg([points], x_label="x", y_label="y"))] == [2, 2]


def test_single_point_is_drawn() -> None:
    assert lines(curve_svg([[(5.0, 3.0)]], x_label="x", y_label="y")) == [[(50.0, 50.0), (50.0, 50.0)]]


def test_empty_plot_is_no_markup() -> None:
    assert curve_svg([], x_label="x", y_label="y") == curve_svg([[]], x_label="x", y_label="y") == ""
    assert bars_svg({}) == bars_svg({"IN00": math.nan}) == ""


def test_thinning_keeps_the_ends_and_every_peak() -> None:
    points = [(float(i), 1.0) for i in range(10_000)]
    points[4321], points[7777] = (4321.0, 9.0), (7777.0, -5.0)
    kept = thin(points)
    assert len(kept) <= 800
    assert kept == sorted(kept)
    assert {points[0], points[-1], points[4321], points[7777]} <= set(kept)


def test_short_series_stays_as_it_is() -> None:
    points = [(0.0, 1.0), (1.0, 2.0)]
    assert thin(points) == points


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 700, [0, 200, 400, 600]), (-2, 2, [-2, -1, 0, 1, 2])],
)
def test_ticks_are_round_numbers(low: float, high: float, wanted: list[float]) -> None:
    assert linear_ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (0.5, "0.5"),
        (0.12345, "0.123"),
        (1234.5, "1234"),
        (100, "100"),
        (3e-7, "3e-07"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_have_three_digits_and_no_needless_zeros(value: float, text: str) -> None:
    assert format_number(value) == text


def test_bars_below_the_floor_are_noise_and_heights_follow_the_values() -> None:
    svg = bars_svg({"IN00": 0.1, "IN01": 2.0, "OUT00": 1.0}, floor=0.2)
    bars = re.findall(r'<rect class="([^"]*)".*?height="([\d.]+)%', svg)
    assert [kind for kind, _ in bars] == ["bar noise", "bar", "bar"]
    assert float(bars[1][1]) == pytest.approx(2 * float(bars[2][1]), abs=0.02)
    assert 'class="floor"' in svg
    assert 'class="floor"' not in bars_svg({"IN00": 1.0})


def test_names_in_plots_are_escaped() -> None:
    svg = bars_svg({"<b>": 1.0}, summary='"<i>') + curve_svg([[(0.0, 1.0)]], x_label="<x>", y_label="<y>")
    assert not re.search(r"<(b|i|x|y)>", svg)


def test_same_numbers_give_the_same_markup() -> None:
    points = [[(0.0, 1.0), (1.0, 2.0)]]
    assert curve_svg(points, x_label="x", y_label="y") == curve_svg(points, x_label="x", y_label="y")

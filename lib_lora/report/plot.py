"""Plots as inline SVG: pure functions from numbers to markup.

Positions are percentages of the drawing box, so that lines stretch with the page while letters and strokes keep their
size on a phone. Colors come from the page's style sheet by class (`s0`, `s1`, …), so a plot follows the theme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

Point = tuple[float, float]

MAX_POINTS = 800  # per series; more than a screen's columns
COLORS = 6


def format_number(value: float) -> str:
    """A number for people: three significant digits, an exponent only for the very small and very large."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if 1e-4 <= abs(value) < 1e6:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.2g}"


def linear_ticks(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) inside low..high."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def thin(points: Sequence[Point], *, limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` points that keep every peak: the lowest and the highest of each stretch stay."""
    if len(points) <= limit:
        return list(points)
    stretch = math.ceil(2 * len(points) / (limit - 2))
    kept: list[Point] = [points[0]]
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        extremes = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(extremes)
    return [*kept, points[-1]]


def curve_svg(series: Sequence[Sequence[Point]], *, x_label: str, y_label: str, summary: str = "") -> str:
    """A line plot as one <svg>; "" when no point can be drawn. Points that are not finite leave a gap in their line."""
    runs = [_unbroken(line) for line in series]
    drawn = [point for line in runs for run in line for point in run]
    if not drawn:
        return ""
    left, right = _range([x for x, _ in drawn], margin=0.0)
    heights = [y for _, y in drawn]
    bottom, top = _range(heights, margin=0.05)
    if min(heights) >= 0:
        bottom = max(bottom, 0.0)

    def place(point: Point) -> Point:
        return 100 * (point[0] - left) / (right - left), 100 * (top - point[1]) / (top - bottom)

    marks = [_y_tick(place((left, tick))[1], tick) for tick in linear_ticks(bottom, top)]
    marks += [_x_tick(place((tick, drawn[0][1]))[0], tick) for tick in linear_ticks(left, right, wanted=6)]
    lines = [_line([place(p) for p in thin(run)], index) for index, line in enumerate(runs) for run in line]
    return (
        f'<svg class="plot curve" role="img" aria-label="{escape(summary or y_label)}">{"".join(marks)}'
        f'<svg class="lines" viewBox="0 0 100 100" preserveAspectRatio="none">{"".join(lines)}</svg>'
        f'<text class="axis" x="100%" y="100%" dy="38" text-anchor="end">{escape(x_label)}</text>'
        f'<text class="axis" x="0" y="0" dy="-12" dx="-48">{escape(y_label)}</text></svg>'
    )


def bars_svg(
    values: Mapping[str, float],
    *,
    errors: Mapping[str, float] | None = None,
    floor: float | None = None,
    summary: str = "",
) -> str:
    """One upright bar for each name as one <svg>; "" when no value is finite.

    Bars whose size is below `floor` get the class `noise`; a dashed line shows the floor. `errors` are the lengths, to
    either side of a bar's end, of its error bar.
    """
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    if not finite:
        return ""
    spreads = {name: size for name, size in (errors or {}).items() if name in finite and math.isfinite(size)}
    ends = [finite[name] + sign * size for name, size in spreads.items() for sign in (-1, 1)]
    extremes = [0.0, *finite.values(), *ends, *([floor] if floor is not None else [])]
    bottom, top = _range(extremes, margin=0.0)
    top += 0.06 * (top - bottom)

    def place(value: float) -> float:
        return 100 * (top - value) / (top - bottom)

    slot = 100 / len(values)
    marks = [_y_tick(place(tick), tick) for tick in linear_ticks(bottom, top)]
    for index, name in enumerate(values):
        marks.append(_bar(name, finite.get(name), slot=slot, index=index, place=place, floor=floor))
        if spreads.get(name):
            ends_of = [place(finite[name] + sign * spreads[name]) for sign in (-1, 1)]
            marks.append(_error_bar(slot * (index + 0.5), 0.15 * slot, *ends_of))
    if floor is not None:
        marks.append(f'<line class="floor" x1="0" x2="100%" y1="{place(floor):.2f}%" y2="{place(floor):.2f}%"/>')
    crowded = " crowded" if len(values) > 20 else ""
    return f'<svg class="plot bars{crowded}" role="img" aria-label="{escape(summary)}">{"".join(marks)}</svg>'


def _bar(
    name: str, value: float | None, *, slot: float, index: int, place: Callable[[float], float], floor: float | None
) -> str:
    middle = slot * (index + 0.5)
    label = (
        f'<svg class="name" x="{middle:.2f}%" y="100%"><text dy="16" text-anchor="middle">{escape(name)}</text></svg>'
    )
    if value is None:
        return label
    high, low = place(max(value, 0.0)), place(min(value, 0.0))
    kind = "bar noise" if floor is not None and abs(value) < floor else "bar"
    return (
        f'<rect class="{kind}" x="{middle - 0.36 * slot:.2f}%" width="{0.72 * slot:.2f}%" y="{high:.2f}%" '
        f'height="{max(low - high, 0.3):.2f}%"><title>{escape(name)}: {format_number(value)}</title></rect>{label}'
    )


def _error_bar(middle: float, half: float, low: float, high: float) -> str:
    """A line from end to end with a short one across each."""
    caps = "".join(
        f'<line x1="{middle - half:.2f}%" x2="{middle + half:.2f}%" y1="{end:.2f}%" y2="{end:.2f}%"/>'
        for end in (low, high)
    )
    line = f'<line x1="{middle:.2f}%" x2="{middle:.2f}%" y1="{low:.2f}%" y2="{high:.2f}%"/>'
    return f'<g class="error" stroke="currentColor">{line}{caps}</g>'


def _range(values: Iterable[float], *, margin: float) -> tuple[float, float]:
    """Lowest and highest value, widened by a share of their distance and never of zero width."""
    known = list(values)
    low, high = min(known), max(known)
    if low == high:
        return low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return low - margin * (high - low), high + margin * (high - low)


def _unbroken(points: Sequence[Point]) -> list[list[Point]]:
    """The stretches of points that can be drawn."""
    runs: list[list[Point]] = [[]]
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(points: Sequence[Point], index: int) -> str:
    color = f"s{index % COLORS}"
    if len(points) == 1:  # a dot: a line of no length with round ends
        points = [points[0], points[0]]
    path = " ".join(f"{x:.3f},{y:.3f}" for x, y in points)
    return f'<polyline class="{color}" points="{path}"/>'


def _y_tick(percent: float, value: float) -> str:
    return (
        f'<line class="rule" x1="0" x2="100%" y1="{percent:.2f}%" y2="{percent:.2f}%"/>'
        f'<text x="0" y="{percent:.2f}%" dx="-8" dy="4" text-anchor="end">{format_number(value)}</text>'
    )


def _x_tick(percent: float, value: float) -> str:
    return f'<text x="{percent:.2f}%" y="100%" dy="18" text-anchor="middle">{format_number(value)}</text>'

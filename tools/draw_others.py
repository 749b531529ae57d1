"""Two more characters on the rig of `draw_character`, on whom no recipe was tried: other colors, hair, ears, a hat.

"brlk" has hanging hare's ears and short buns of red hair; "mzne" wears a pointed hat over one long braid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import draw_character as rig
from character_shapes import Color, Outline, Part, Shape, Vector, View, flat, hull, tube


def _long_ear(view: View, side: int) -> Part:
    """A hare's ear that rises and hangs over, its inside on the front."""
    spine = [(0.5 * side, 0.72, 0.0), (0.66 * side, 1.35, 0.02), (1.0 * side, 1.6, 0.06), (1.36 * side, 1.24, 0.1)]
    inside = [(x, y, z + 0.2) for x, y, z in spine[1:]]
    shapes = tube(view, spine, [0.2, 0.27, 0.26, 0.14], rig.NAVY, rig.NAVY_DARK)
    if view.turn((0.0, 0.0, 1.0))[2] > 0.1:
        shapes += tube(view, inside, [0.08, 0.13, 0.06], rig.PINK, None)
    return Part(view.turn(spine[1])[2], shapes)


def _bun(view: View, side: int) -> Part:
    """A ball of hair low behind the ear, with its band."""
    near, far = (0.88 * side, -0.42, -0.44), (1.14 * side, -0.6, -0.6)
    shapes = tube(view, [far, far], [0.42, 0.42], rig.TEAL, rig.TEAL_DARK)
    shapes += tube(view, [near, near], [0.17, 0.17], rig.ORANGE, rig.ORANGE_DARK)
    return Part(view.turn(far)[2], shapes)


def _ring(view: View, height: float, radius: float) -> Outline:
    turns = [math.tau * i / 36 for i in range(36)]
    return [flat(view.turn((radius * math.cos(a), height, radius * math.sin(a)))) for a in turns]


def _hat(view: View) -> list[Part]:
    """A brim and a cone that leans back, with a band."""
    up = view.turn((0.0, 1.0, 0.0))[2]
    brim = hull([*_ring(view, 0.6, 1.42), *_ring(view, 0.68, 1.36)])
    tip = [flat(view.turn(point)) for point in ((0.3, 1.72, -0.3), (0.2, 1.74, -0.2))]
    band = hull([*_ring(view, 0.68, 0.86), *_ring(view, 0.9, 0.74)])
    cone = hull([*_ring(view, 0.9, 0.72), *tip])
    depth = 1.2 if up > -0.1 else -1.2  # seen from below the head covers it
    top = [Shape(band, rig.ORANGE, rig.ORANGE_DARK), Shape(cone, rig.NAVY, rig.NAVY_DARK)]
    return [
        Part(depth, [Shape(brim, rig.NAVY, rig.NAVY_DARK)]),
        Part(depth + (0.1 if up > -0.1 else -0.1), top),
    ]


def _braid(view: View) -> list[Part]:
    """One braid down the back and over the left shoulder: balls that become smaller, and a bow."""
    centers: list[Vector] = [(0.2, -0.3, -1.0), (0.5, -0.72, -1.02), (0.86, -1.06, -0.86), (1.14, -1.36, -0.6)]
    balls = [tube(view, [one, one], [size] * 2, rig.TEAL, rig.TEAL_DARK) for one, size in zip(
        centers, (0.4, 0.36, 0.32, 0.26), strict=True)]  # fmt: skip
    end = (1.3, -1.56, -0.42)
    bow = tube(view, [end, end], [0.15, 0.15], rig.ORANGE, rig.ORANGE_DARK)
    return [Part(view.turn(one)[2], shapes) for one, shapes in zip([*centers, end], [*balls, bow], strict=True)]


@dataclass(frozen=True)
class Other:
    """A character: which names of the rig mean something else while it is drawn."""

    colors: Mapping[str, Color] = field(default_factory=dict)
    pairs: Sequence[Callable[[View, int], Part]] = rig.PAIRS
    singles: Sequence[Callable[[View], list[Part]]] = rig.SINGLES


OTHERS: Mapping[str, Other] = {
    "krnk": Other(),
    "brlk": Other(
        {
            "TEAL": (196, 32, 48), "TEAL_LIGHT": (240, 96, 96), "TEAL_DARK": (128, 12, 32), "ORANGE": (40, 160, 72),
            "ORANGE_DARK": (16, 104, 40), "YELLOW": (220, 240, 200), "NAVY": (90, 60, 40), "NAVY_DARK": (56, 36, 24),
            "NAVY_LIGHT": (140, 100, 70), "VIOLET": (232, 176, 32), "VIOLET_LIGHT": (255, 222, 120),
            "EYE_DARK": (96, 56, 8),
        },
        pairs=(_long_ear, _bun),
    ),
    "mzne": Other(
        {
            "TEAL": (170, 150, 226), "TEAL_LIGHT": (214, 200, 250), "TEAL_DARK": (110, 90, 170), "ORANGE": (60, 64, 72),
            "ORANGE_DARK": (28, 30, 36), "YELLOW": (250, 120, 170), "NAVY": (236, 232, 222),
            "NAVY_DARK": (190, 184, 170), "NAVY_LIGHT": (250, 248, 242), "VIOLET": (32, 128, 220),
            "VIOLET_LIGHT": (130, 200, 255), "EYE_DARK": (8, 40, 88),
        },
        pairs=(),
        singles=(*rig.SINGLES, _hat, _braid),
    ),
}  # fmt: skip
"""Trigger word -> what is different about it."""


@contextmanager
def drawn_as(name: str) -> Iterator[None]:
    """Let the rig draw another character while the block runs."""
    one = OTHERS[name]
    new = {**one.colors, "PAIRS": one.pairs, "SINGLES": one.singles}
    before = {key: getattr(rig, key) for key in new}
    try:
        for key, value in new.items():
            setattr(rig, key, value)
        yield
    finally:
        for key, value in before.items():
            setattr(rig, key, value)


def write_pictures(name: str, folder: Path) -> Path:
    """Draw a character's twelve training pictures, and return their folder."""
    with drawn_as(name):
        rig.write_pictures(folder, rig.TRAINING_VIEWS)
    return folder

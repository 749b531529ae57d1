"""Draws the invented character "krnk" from every side: the training and held-out pictures of the demo.

The girl is a small three-dimensional rig of ellipsoids, cones and tapered tails that is turned, projected without
perspective and painted from back to front. Everything on the head (face, eyes, orange lock) is a patch of directions
on the head's ellipsoid, so it wanders with the angle and vanishes behind the edge by itself.

Axes: x to the viewer's right, y up, z towards the viewer; one unit is the radius of the head. File names follow the
CharFramework rules: f/b = upper/full body, then 0/1/2 = level/above/below, then the angle in steps of 45 degrees
counter-clockwise seen from above.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from character_shapes import (
    Color,
    Ellipsoid,
    Outline,
    Part,
    Point,
    Shape,
    Vector,
    View,
    around,
    band,
    cross,
    direction,
    flat,
    hull,
    lock,
    mix,
    oval,
    patches,
    rounded,
    star,
    tube,
    unit,
)
from PIL import Image, ImageColor, ImageDraw

SIZE = 128
SUPERSAMPLING = 4
LINE = 3.2  # width of outlines in pixels of the finished picture
WHITE = (250, 250, 250)
TRAINING_VIEWS = ("f00", "f01", "f02", "f07", "f10", "f11", "f17", "f20", "f21", "f27", "b00", "b01")
HELD_OUT_VIEWS = ("f06", "f12", "f26", "b07", "b10", "b20")


TEAL, TEAL_LIGHT, TEAL_DARK = (0, 190, 180), (96, 228, 214), (0, 128, 138)
ORANGE, ORANGE_DARK, YELLOW = (255, 132, 24), (206, 84, 10), (255, 222, 60)
NAVY, NAVY_DARK, NAVY_LIGHT, PINK = (42, 58, 142), (24, 32, 88), (66, 88, 190), (255, 138, 176)
SKIN, SKIN_DARK, BLUSH = (255, 219, 190), (214, 140, 112), (255, 160, 150)
VIOLET, VIOLET_LIGHT, EYE_DARK = (132, 62, 226), (190, 132, 255), (50, 18, 92)
MOUTH, TONGUE, GLEAM = (156, 32, 60), (255, 116, 124), (255, 255, 255)


HEAD = Ellipsoid(center=(0.0, 0.0, 0.0), radii=(1.1, 0.98, 1.02))
EAR_DEPTH = 0.62  # of its width
NECK = Ellipsoid(center=(0.0, -1.02, 0.0), radii=(0.66, 0.27, 0.58))
FACE_AND_FRINGE = rounded(
    [(-0.7, -1.58), (-1.0, -1.1), (-1.14, -0.55), (-1.06, -0.02), (-0.92, 0.26), (-0.72, 0.02), (-0.5, 0.46)]
    + [(-0.28, 0.1), (-0.12, 0.48), (0.08, -0.06), (0.28, 0.5), (0.5, 0.1), (0.74, 0.42), (0.9, 0.06)]
    + [(1.06, -0.06), (1.14, -0.55), (1.0, -1.1), (0.7, -1.58)],
    rounds=2,
)


def _eye(side: int) -> list[tuple[list[Vector], Color]]:
    """One eye as patches from the lash to the gleam; side -1 is the character's right."""
    at = (28.0 * side, -14.0)
    return [
        (around(*at, oval(0.24, 0.34)), EYE_DARK),
        (around(*at, oval(0.175, 0.26, y=-0.035)), VIOLET),
        (around(*at, oval(0.13, 0.13, y=-0.15)), VIOLET_LIGHT),
        (around(*at, oval(0.1, 0.11, x=-0.06, y=0.13)), GLEAM),
    ]


def _head(view: View) -> Part:
    silhouette = HEAD.silhouette(view)
    gleam = [direction(lon, lat) for lon, lat in band(-58, -8, 50, 62)]
    light = Ellipsoid(center=(0.0, 0.0, 0.0), radii=HEAD.radii).patch(replace(view, pitch=0, yaw=0), gleam)
    items: list[tuple[list[Vector], Color]] = [
        *[(piece, TEAL_DARK) for piece in lock(0.0, 3.2, 100, 262)],
        *[(piece, ORANGE) for piece in lock(24.0, 9.5, 14, 232)],
    ]
    face = [(around(0.0, 0.0, FACE_AND_FRINGE), SKIN)]
    features = [
        *[(around(47.0 * side, -36.0, oval(0.17, 0.11)), BLUSH) for side in (-1, 1)],
        (around(0.0, -38.0, oval(0.23, 0.28, start=180)), MOUTH),
        (around(0.0, -48.5, oval(0.115, 0.07)), TONGUE),
        *_eye(-1),
        *_eye(1),
    ]
    hair = [Shape(silhouette, TEAL, TEAL_DARK), Shape(light, TEAL_LIGHT)]
    skin = [replace(shape, rim=TEAL_DARK) for shape in patches(view, HEAD, face)]
    return Part(0.05, [*hair, *patches(view, HEAD, items), *skin, *patches(view, HEAD, features)])


def _ear(view: View, side: int) -> Part:
    """A cat ear: elliptical slices that shrink towards the tip; the pink covers the front of each slice."""
    root, axis = (0.62 * side, 0.66, -0.04), unit((0.42 * side, 1.0, -0.06))
    across = unit(cross(axis, unit((0.28 * side, 0.0, 1.0))))
    front = cross(across, axis)
    slices = [(0.0, 0.5), (0.22, 0.46), (0.5, 0.34), (0.78, 0.18), (0.98, 0.05)]

    def rim(height: float, radius: float, angle: float) -> Point:
        sideways, forward = radius * math.sin(angle), EAR_DEPTH * radius * math.cos(angle)
        point = mix(mix(root, 1.0, axis, height), 1.0, mix(across, sideways, front, forward), 1.0)
        return flat(view.turn(point))

    outside = hull([rim(h, r, math.tau * i / 24) for h, r in slices for i in range(24)])
    shapes = [Shape(outside, NAVY, NAVY_DARK)]
    toward = math.atan2(view.turn(across)[2] * EAR_DEPTH, view.turn(front)[2])
    reach = math.radians(52)
    west = max(-reach, toward - math.pi / 2)
    east = min(reach, toward + math.pi / 2)
    if view.turn(front)[2] > 0.05 and east > west:
        inner = [(0.08, 0.42), (0.3, 0.36), (0.52, 0.25), (0.74, 0.1)]
        pink = [rim(h, r, west) for h, r in inner] + [rim(h, r, east) for h, r in inner[::-1]]
        shapes.append(Shape(rounded(pink, rounds=2), PINK))
    return Part(view.turn(mix(root, 1.0, axis, 0.3))[2], shapes)


def _tail(view: View, side: int) -> Part:
    """A twin-tail: band, swelling lock that curls outwards, and on the left one the orange streak."""
    spine = [(1.06, 0.36, -0.1), (1.28, 0.34, -0.18), (1.43, 0.04, -0.3), (1.45, -0.38, -0.42)]
    spine += [(1.36, -0.76, -0.52), (1.4, -1.06, -0.66), (1.52, -1.22, -0.82)]
    centers = [(x * side, y, z) for x, y, z in spine]
    radii = [0.15, 0.22, 0.29, 0.3, 0.25, 0.16, 0.07]
    shapes = tube(view, centers, radii, TEAL, TEAL_DARK)
    if side > 0:
        streak = [(x + 0.07, y, z) for x, y, z in centers[2:6]]
        shapes += tube(view, streak, [0.06, 0.1, 0.1, 0.06], ORANGE, None)
    shapes += tube(view, [centers[0], centers[0]], [0.2, 0.2], ORANGE, ORANGE_DARK)
    return Part(view.turn(centers[2])[2], shapes)


def _scarf(view: View) -> list[Part]:
    badge = around(0.0, -14.0, star(0.5))
    pin_body = Ellipsoid(center=NECK.center, radii=(0.7, 0.62, 0.62))
    ring = [Shape(NECK.silhouette(view), ORANGE, ORANGE_DARK)]
    shown = view.turn((0.0, 0.0, 1.0))[2] > 0.3  # from the side a flat pin is no more than its edge
    pin = [replace(shape, rim=ORANGE_DARK) for shape in patches(view, pin_body, [(badge, YELLOW)]) if shown]
    end = [(-0.2, -1.05, -0.52), (-0.34, -1.35, -0.72), (-0.5, -1.62, -0.84)]
    hanging = tube(view, end, [0.17, 0.21, 0.23], ORANGE, ORANGE_DARK)
    neck_depth = view.turn(NECK.center)[2]
    return [
        Part(neck_depth, ring),
        Part(neck_depth + 0.02, pin),
        Part(neck_depth + view.turn((0.0, 0.0, -0.72))[2], hanging),
    ]


def _body(view: View) -> list[Part]:
    """Dress, arms and legs, below the scarf."""
    skirt = [(-1.1, 0.36), (-1.5, 0.46), (-1.95, 0.68), (-2.12, 0.74)]
    depth = view.turn((0.0, -1.6, 0.0))[2] - 0.3

    def ring(height: float, radius: float) -> Outline:
        turns = [math.tau * i / 36 for i in range(36)]
        return [flat(view.turn((radius * math.cos(a), height, 0.8 * radius * math.sin(a)))) for a in turns]

    dress = hull([p for height, radius in skirt for p in ring(height, radius)])
    hem = hull([*ring(-1.97, 0.69), *ring(-2.12, 0.74)])
    parts = [Part(depth, [Shape(dress, NAVY, NAVY_DARK), Shape(hem, NAVY_LIGHT)])]
    for side in (-1, 1):
        shoulder, hand = (0.36 * side, -1.28, 0.0), (0.86 * side, -1.66, 0.1)
        arm = tube(view, [shoulder, mix(shoulder, 0.4, hand, 0.6)], [0.16, 0.2], NAVY, NAVY_DARK)
        fist = tube(view, [hand, hand], [0.16, 0.16], SKIN, SKIN_DARK)
        parts.append(Part(depth + view.turn((0.6 * side, 0.0, 0.0))[2], [*fist, *arm]))
        leg = [(0.28 * side, -2.0, 0.0), (0.28 * side, -2.55, 0.0)]
        boot = [(0.28 * side, -2.62, 0.0), (0.28 * side, -2.66, 0.14)]
        shapes = tube(view, leg, [0.17, 0.16], SKIN, SKIN_DARK) + tube(view, boot, [0.2, 0.19], ORANGE, ORANGE_DARK)
        parts.append(Part(depth + view.turn((0.1 * side, -1.0, 0.0))[2] - 0.2, shapes))
    return parts


PAIRS: Sequence[Callable[[View, int], Part]] = (_ear, _tail)
SINGLES: Sequence[Callable[[View], list[Part]]] = (_scarf, _body)


def parts_of(view: View) -> list[Part]:
    """Every part of the character, from the farthest to the nearest."""
    parts = [make(view, side) for make in PAIRS for side in (-1, 1)]
    singles = [part for make in SINGLES for part in make(view)]
    return sorted([*parts, _head(view), *singles], key=lambda part: part.depth)


def draw(name: str, *, background: Color = WHITE) -> Image.Image:
    """One picture of 128 x 128 RGB pixels of the view `name`; the same name gives the same pixels every time."""
    view = View.parse(name)
    zoom, middle = (34.4, (0.0, 0.13)) if view.kind == "f" else (26.5, (0.0, -0.55))
    lift = view.turn((0.0, middle[1], 0.0))[1]
    canvas = Image.new("RGB", (SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING), background)
    pen = ImageDraw.Draw(canvas)

    def pixels(points: Outline) -> Outline:
        k = zoom * SUPERSAMPLING
        half = SIZE * SUPERSAMPLING / 2
        return [(half + k * x, half - k * (y - lift)) for x, y in points]

    for part in parts_of(view):
        _paint(pen, [replace(shape, points=pixels(shape.points)) for shape in part.shapes])
    return canvas.reduce(SUPERSAMPLING)


def _paint(pen: ImageDraw.ImageDraw, shapes: Sequence[Shape]) -> None:
    """Paints shapes in order; neighbors with the same colors get one common outline."""
    width = round(LINE * SUPERSAMPLING)
    start = 0
    while start < len(shapes):
        look = (shapes[start].fill, shapes[start].rim)
        stop = start
        while stop < len(shapes) and (shapes[stop].fill, shapes[stop].rim) == look:
            stop += 1
        run, start = shapes[start:stop], stop
        if look[1]:
            for shape in run:
                pen.line([*shape.points, *shape.points[:2]], fill=look[1], width=width, joint="curve")
        for shape in run:
            pen.polygon(shape.points, fill=look[0])


def write_pictures(folder: Path, names: Sequence[str], *, background: Color = WHITE) -> list[Path]:
    """Writes one PNG for each view name into `folder` and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in names]
    for path in paths:
        draw(path.stem, background=background).save(path, optimize=True)
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the training pictures into --out and the held-out views into `heldout` beside it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the training pictures")
    parser.add_argument("--background", default="white", help="color name or #rrggbb; white is 250,250,250")
    options = parser.parse_args(arguments)
    background = WHITE if options.background == "white" else ImageColor.getrgb(options.background)[:3]
    write_pictures(options.out, TRAINING_VIEWS, background=background)
    write_pictures(options.out.parent / "heldout", HELD_OUT_VIEWS, background=background)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

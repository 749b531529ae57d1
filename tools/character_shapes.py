"""Turned and projected solids for `draw_character`: points, patches on ellipsoids, tubes and plane curves.

Axes: x to the viewer's right, y up, z towards the viewer; one unit is the radius of the head. There is no
perspective: the picture of a point is its x and y after turning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

PITCH_DEGREES = {0: 0.0, 1: 28.0, 2: -28.0}

Color = tuple[int, int, int]
Vector = tuple[float, float, float]
Point = tuple[float, float]
Outline = list[Point]


@dataclass(frozen=True)
class View:
    """How the character is looked at: kind "f" or "b", pitch 0 level, 1 above, 2 below, yaw 0..7 times 45 degrees."""

    kind: str
    pitch: int
    yaw: int

    @classmethod
    def parse(cls, name: str) -> View:
        """Reads a view from a file stem such as "f21"; ValueError for anything else."""
        if not re.fullmatch(r"[fb][0-2][0-7]", name):
            raise ValueError(f"not a view name: {name!r} (wanted: f or b, 0-2, 0-7)")
        return cls(kind=name[0], pitch=int(name[1]), yaw=int(name[2]))

    def turn(self, point: Vector) -> Vector:
        """Turns a point of the character into the viewer's axes."""
        x, y, z = point
        yaw, pitch = math.radians(45.0 * self.yaw), math.radians(PITCH_DEGREES[self.pitch])
        x, z = x * math.cos(yaw) + z * math.sin(yaw), z * math.cos(yaw) - x * math.sin(yaw)
        return x, y * math.cos(pitch) - z * math.sin(pitch), y * math.sin(pitch) + z * math.cos(pitch)

    def towards_viewer(self) -> Vector:
        """The direction to the viewer in the character's axes (the turning undone)."""
        return self.turn((1, 0, 0))[2], self.turn((0, 1, 0))[2], self.turn((0, 0, 1))[2]


@dataclass(frozen=True)
class Shape:
    """A filled area of the projected picture, in head radii; `rim` is the color of its outline, if it has one."""

    points: Outline
    fill: Color
    rim: Color | None = None


@dataclass(frozen=True)
class Part:
    """Shapes painted together; parts are painted in the order of `depth` (larger is nearer)."""

    depth: float
    shapes: list[Shape]


@dataclass(frozen=True)
class Ellipsoid:
    """An axis-parallel ellipsoid in the character's axes."""

    center: Vector
    radii: Vector

    def at(self, direction: Vector) -> Vector:
        """The surface point whose direction on the unit sphere is `direction`."""
        return tuple(c + r * d for c, r, d in zip(self.center, self.radii, direction, strict=True))

    def facing(self, view: View) -> Vector:
        """The unit-sphere direction whose surface point faces the viewer; the visible edge is its great circle."""
        return unit(tuple(t / r for t, r in zip(view.towards_viewer(), self.radii, strict=True)))

    def silhouette(self, view: View) -> Outline:
        """The visible edge as the viewer sees it."""
        pole = self.facing(view)
        side = unit(cross(pole, (0.0, 1.0, 0.0) if abs(pole[1]) < 0.9 else (1.0, 0.0, 0.0)))
        other = cross(pole, side)
        turns = [math.tau * i / 72 for i in range(72)]
        edge = [mix(side, math.cos(a), other, math.sin(a)) for a in turns]
        return [flat(view.turn(self.at(direction))) for direction in edge]

    def patch(self, view: View, directions: Sequence[Vector]) -> Outline:
        """The visible part of a closed curve on the surface, as the viewer sees it; [] when nothing is visible."""
        pole = self.facing(view)
        if max(dot(pole, direction) for direction in directions) < 0.06:  # under 4 degrees: only a splinter
            return []
        return [flat(view.turn(self.at(direction))) for direction in clip(directions, pole)]


def clip(curve: Sequence[Vector], pole: Vector) -> list[Vector]:
    """The part of a closed curve on the unit sphere within 90 degrees of `pole`; gaps are closed along the edge.

    The shorter way round the edge is the right one because every patch here is smaller than a hemisphere.
    """
    first = next(i for i, direction in enumerate(curve) if dot(pole, direction) > 0)
    ring = [*curve[first:], *curve[: first + 1]]
    result: list[Vector] = []
    left_at: Vector | None = None
    for a, b in zip(ring, ring[1:], strict=False):
        high, low = dot(pole, a), dot(pole, b)
        if high > 0:
            result.append(a)
        if (high > 0) == (low > 0):
            continue
        crossing = unit(mix(a, low / (low - high), b, -high / (low - high)))
        if left_at is None:
            left_at = crossing
        else:
            steps = [i / 16 for i in range(17)]
            result += [unit(mix(left_at, 1 - t, crossing, t)) for t in steps]
            left_at = None
    return result


def dot(a: Vector, b: Vector) -> float:
    """Scalar product."""
    return sum(p * q for p, q in zip(a, b, strict=True))


def mix(a: Vector, p: float, b: Vector, q: float) -> Vector:
    """p times a plus q times b."""
    return a[0] * p + b[0] * q, a[1] * p + b[1] * q, a[2] * p + b[2] * q


def cross(a: Vector, b: Vector) -> Vector:
    """Vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def unit(a: Vector) -> Vector:
    """The vector of length 1 in the same direction (zero stays zero)."""
    length = math.sqrt(dot(a, a)) or 1.0
    return a[0] / length, a[1] / length, a[2] / length


def flat(a: Vector) -> Point:
    """What the viewer sees of a point: x and y."""
    return a[0], a[1]


def direction(longitude: float, latitude: float) -> Vector:
    """Unit vector in degrees: 0, 0 is straight ahead; positive longitude is the character's left."""
    lon, lat = math.radians(longitude), math.radians(latitude)
    return math.cos(lat) * math.sin(lon), math.sin(lat), math.cos(lat) * math.cos(lon)


def around(longitude: float, latitude: float, curve: Sequence[Point]) -> list[Vector]:
    """Lays a plane curve (radians) on the unit sphere, keeping distances and angles from its middle."""
    middle = direction(longitude, latitude)
    east = direction(longitude + 90.0, 0.0)
    north = cross(middle, east)
    result = []
    for x, y in curve:
        angle = math.hypot(x, y) or 1e-9
        offset = mix(east, x / angle, north, y / angle)
        result.append(mix(middle, math.cos(angle), offset, math.sin(angle)))
    return result


def oval(
    width: float, height: float, *, x: float = 0.0, y: float = 0.0, start: float = 0, stop: float = 360
) -> Outline:
    """Points of an ellipse (half axes) or of its arc between two angles in degrees, closed by a chord."""
    angles = [math.radians(start + (stop - start) * i / 40) for i in range(41)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


def rounded(points: Sequence[Point], rounds: int = 3) -> Outline:
    """Chaikin's corner cutting of a closed polygon."""
    result = list(points)
    for _ in range(rounds):
        pairs = zip(result, result[1:] + result[:1], strict=True)
        result = [(a[0] * p + b[0] * (1 - p), a[1] * p + b[1] * (1 - p)) for a, b in pairs for p in (0.75, 0.25)]
    return result


def star(size: float) -> Outline:
    """A five-pointed star of outer radius `size`, one point up."""
    spokes = [(size if i % 2 == 0 else 0.52 * size, math.radians(90 + 36 * i)) for i in range(10)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in spokes]


def hull(points: Sequence[Point]) -> Outline:
    """Convex hull (Andrew's monotone chain)."""

    def half(ordered: Sequence[Point]) -> Outline:
        chain: Outline = []
        for p in ordered:
            while len(chain) > 1 and (
                (chain[-1][0] - chain[-2][0]) * (p[1] - chain[-2][1])
                <= (chain[-1][1] - chain[-2][1]) * (p[0] - chain[-2][0])
            ):
                chain.pop()
            chain.append(p)
        return chain[:-1]

    ordered = sorted(set(points))
    return half(ordered) + half(ordered[::-1])


def tube(view: View, spine: Sequence[Vector], radii: Sequence[float], fill: Color, rim: Color | None) -> list[Shape]:
    """A chain of balls of changing size, each pair joined by its hull: tails, arms, legs, scarf ends."""
    chain = [(*center, radius) for center, radius in zip(spine, radii, strict=True)]
    for _ in range(2 if len(chain) > 2 else 0):  # corner cutting that keeps both ends
        cuts = [
            tuple(p * w + q * (1 - w) for p, q in zip(a, b, strict=True))
            for a, b in zip(chain, chain[1:], strict=False)
            for w in (0.75, 0.25)
        ]
        chain = [chain[0], *cuts[1:-1], chain[-1]]
    seen = [(view.turn((x, y, z)), radius) for x, y, z, radius in chain]
    balls = [oval(radius, radius, x=x, y=y) for (x, y, _), radius in seen]
    return [Shape(hull([*a, *b]), fill, rim) for a, b in zip(balls, balls[1:], strict=False)]


def patches(view: View, body: Ellipsoid, items: Sequence[tuple[list[Vector], Color]]) -> list[Shape]:
    """The visible patches among `items` (closed curves of directions with their colors)."""
    visible = [(body.patch(view, directions), color) for directions, color in items]
    return [Shape(points, color) for points, color in visible if points]


def band(west: float, east: float, south: float, north: float) -> Outline:
    """A rounded strip between two meridians and two parallels, in degrees."""
    middle, half = (south + north) / 2, (north - south) / 2
    lons = [west + (east - west) * i / 20 for i in range(21)]
    rise = [half * math.sin(math.pi * i / 20) ** 0.5 for i in range(21)]
    upper = [(lon, middle + r) for lon, r in zip(lons, rise, strict=True)]
    return upper + [(lon, middle - r) for lon, r in zip(lons[::-1], rise, strict=True)]


def lock(longitude: float, width: float, start: float, stop: float) -> list[list[Vector]]:
    """A lock of hair over the crown from front to back (degrees), in short pieces that are hidden one by one."""

    def at(step: int, edge: int) -> Vector:
        taper = math.sin(math.pi * (0.06 + 0.88 * step / 40)) ** 0.6
        a, b = math.radians(start + (stop - start) * step / 40), math.radians(longitude + edge * width * taper)
        return math.sin(b), math.cos(b) * math.sin(a), math.cos(b) * math.cos(a)

    # Pieces overlap by one step so that no hair shines through between them.
    return [
        [
            at(step, -1),
            at(step + 1, -1),
            at(min(step + 2, 40), -1),
            at(min(step + 2, 40), 1),
            at(step + 1, 1),
            at(step, 1),
        ]
        for step in range(39)
    ]

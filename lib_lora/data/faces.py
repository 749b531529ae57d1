"""Faces of drawn characters, found by the package animeface where it is installed, and crops around them."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from lib_lora.errors import AtelierError
from lib_lora.sentences import say

LOOKED_AT = 1024
"""Longer side in px that a picture is looked at: larger ones take seconds and tell no more faces."""
WHOLE = 0.9
"""Share of the picture's area from which on a crop would be the picture itself."""

Box = tuple[int, int, int, int]
"""left, top, right, bottom in px."""


@dataclass(frozen=True)
class Face:
    """A face without its hair, in px of the picture, and how sure it is (0 to 1)."""

    x: float
    y: float
    width: float
    height: float
    sure: float


@dataclass(frozen=True)
class Frame:
    """A crop in lengths of a face's side: its width and height, how far its top is above the face's, and its tag."""

    width: float
    height: float
    above: float
    tag: str


FRAMES = {
    "face": Frame(2.2, 2.2, 0.9, "portrait"),
    "upper": Frame(4.0, 4.2, 1.2, "upper body"),
    "body": Frame(4.6, 8.4, 1.4, "full body"),
}
FRAMING_TAGS = frozenset(("full body", "upper body", "cowboy shot", "portrait", "close-up", "lower body"))
"""Tags that say how much of a figure is in the picture: a crop has its own."""


def find_faces(picture: Image.Image) -> list[Face]:
    """Return the faces in a picture, the surest first.

    Args:
        picture: RGB of any size.

    Raises:
        AtelierError: animeface is not installed.
    """
    try:
        import animeface
    except ImportError as error:
        raise AtelierError(
            "The package animeface is not installed",
            where=say("face detector"),
            cure="Install it into this Python and start again: {pip}",
            pip="pip install animeface",
        ) from error
    scale = min(1.0, LOOKED_AT / max(picture.size))
    small = picture if scale == 1 else picture.resize([max(1, round(side * scale)) for side in picture.size])
    boxes = ((one.face.pos, float(one.likelihood)) for one in animeface.detect(small.convert("RGB")))
    found = [Face(b.x / scale, b.y / scale, b.width / scale, b.height / scale, sure) for b, sure in boxes]
    return sorted(found, key=lambda face: -face.sure)


def crop_box(face: Face, frame: str, size: tuple[int, int]) -> Box | None:
    """Return the crop of a frame of `FRAMES` around a face, cut at the picture's edges.

    Args:
        face: in px of the picture.
        frame: ``face``, ``upper`` or ``body``.
        size: (width, height) of the picture.

    Returns:
        None where the crop would be nearly all of the picture.
    """
    one, side = FRAMES[frame], max(face.width, face.height)
    middle, top = face.x + face.width / 2, face.y - one.above * side
    left, right = middle - one.width * side / 2, middle + one.width * side / 2
    edges = (max(0, left), max(0, top), min(size[0], right), min(size[1], top + one.height * side))
    box = (round(edges[0]), round(edges[1]), round(edges[2]), round(edges[3]))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return None if area >= WHOLE * size[0] * size[1] or area <= 0 else box

"""Pictures from files, whatever their kind, as 8-bit sRGB; nothing of a broken file gets through silently."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lib_lora.data.files import shown, unreadable
from lib_lora.data.kinds import plugin_kinds
from lib_lora.data.pixels import (
    DEEP_MODES,
    NOTICE_ALPHA,
    NOTICE_DEEP,
    color_and_alpha,
    has_transparency,
    to_rgb,
)
from lib_lora.picture_file import DECODE_ERRORS, KINDS, MAX_PIXELS, open_picture
from lib_lora.sentences import say

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
NOTICE_ANIMATED = say("animated or with several pages: only the first frame is used")
NOTICE_EXIF = say("with unreadable EXIF data: not turned")


@dataclass(frozen=True)
class PictureFacts:
    """What a look at a whole picture file told: upright size (width, height), notices for people."""

    size: tuple[int, int]
    notices: tuple[str, ...]


def inspect_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> PictureFacts:
    """Decode a picture once to prove that it is whole and return its upright size and notices.

    Raises FileError for what cannot be used. A JPEG is decoded at an eighth of its size, which still reads
    every byte.
    """
    with _opened(Path(path), max_pixels=max_pixels) as image:
        kind, size = str(image.format), image.size
        notices = _frame_notices(image)
        if kind in ("JPEG", "MPO"):
            image.draft(image.mode, (max(1, size[0] // 8), max(1, size[1] // 8)))
            image.load()
        else:
            image.load()
            size = image.size  # Pillow turns TIFF while it loads
        if image.mode in DEEP_MODES:
            notices.append(NOTICE_DEEP)
        if has_transparency(image):
            notices.append(NOTICE_ALPHA)
        if _orientation(image, notices) >= 5:
            size = (size[1], size[0])
        return PictureFacts(size=size, notices=tuple(notices))


def load_picture(
    path: str | os.PathLike[str],
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = MAX_PIXELS,
    notices: list[str] | None = None,
) -> Image.Image:
    """Return a picture file as an upright 8-bit sRGB image, transparency put on `background` (RGB, 0..255).

    What was done to it is appended to `notices`. Raises FileError if the file is missing, broken, cut off, no picture,
    or larger than `max_pixels`, which is judged from its header before anything is decoded.
    """
    return load_layers(path, background=background, max_pixels=max_pixels, notices=notices)[0]


def load_layers(
    path: str | os.PathLike[str],
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = MAX_PIXELS,
    notices: list[str] | None = None,
) -> tuple[Image.Image, Image.Image | None]:
    """Return what `load_picture` does, and how opaque each pixel is (mode L), None where all of it is."""
    said = [] if notices is None else notices
    with _opened(Path(path), max_pixels=max_pixels) as image:
        said.extend(_frame_notices(image))
        profile = image.info.get("icc_profile")
        image.load()
        turn = _TURNS.get(_orientation(image, said))
        color, alpha = color_and_alpha(image, said)
        picture = to_rgb(color, profile, said).copy()  # the file is closed when the context ends
    if alpha is not None:
        canvas = Image.new("RGB", picture.size, background)
        canvas.paste(picture, mask=alpha)
        picture = canvas
    layers = (picture, alpha)
    return layers if turn is None else (picture.transpose(turn), None if alpha is None else alpha.transpose(turn))


@contextmanager
def _opened(path: Path, *, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture for decoding inside the context; every reader's complaint leaves it as one FileError."""
    # TGA files have no signature: only the name can tell.
    kinds = (*KINDS, *plugin_kinds(), *(("TGA",) if path.suffix.lower() == ".tga" else ()))
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
    with file, open_picture(file, where=shown(path), kinds=kinds, max_pixels=max_pixels) as image:
        yield image


def _frame_notices(image: Image.Image) -> list[str]:
    # MPO is what phones call a JPEG with a preview inside: one picture.
    several = getattr(image, "is_animated", False) and image.format != "MPO"
    return [NOTICE_ANIMATED] if several else []


def _orientation(image: Image.Image, notices: list[str]) -> int:
    """EXIF orientation 1..8 that is still to be done; PNG may keep EXIF behind the pixels, so ask after decoding."""
    if image.format == "TIFF":
        return 1  # Pillow has turned it while decoding, and old versions leave the tag there
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except DECODE_ERRORS:
        notices.append(NOTICE_EXIF)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1

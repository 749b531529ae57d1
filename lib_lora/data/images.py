"""Pictures from files, whatever their kind, as 8-bit sRGB; nothing of a broken file gets through silently."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from lib_lora.data.files import shown, unreadable
from lib_lora.data.pixels import (
    DECODE_ERRORS,
    DEEP_MODES,
    NOTICE_ALPHA,
    NOTICE_DEEP,
    colour_and_alpha,
    has_transparency,
    to_rgb,
)
from lib_lora.errors import FileError

MAX_PIXELS = 80_000_000  # about 240 MB decoded; below Pillow's own warning

# Kinds that are pictures and nothing else: EPS would start Ghostscript, PSD and ICO hide several sizes.
_KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")
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
NOTICE_ANIMATED = "animated or with several pages: only the first frame is used"
NOTICE_EXIF = "with unreadable EXIF data: not turned"


@dataclass(frozen=True)
class PictureFacts:
    """What a look at a whole picture file told: upright size (width, height), file kind, notices for people."""

    size: tuple[int, int]
    kind: str
    notices: tuple[str, ...]


def inspect_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> PictureFacts:
    """Decode a picture once to prove that it is whole and return its upright size, kind and notices.

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
        return PictureFacts(size=size, kind=kind, notices=tuple(notices))


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
    said = [] if notices is None else notices
    with _opened(Path(path), max_pixels=max_pixels) as image:
        said.extend(_frame_notices(image))
        profile = image.info.get("icc_profile")
        image.load()
        turn = _TURNS.get(_orientation(image, said))
        colour, alpha = colour_and_alpha(image, said)
        picture = to_rgb(colour, profile, said).copy()  # the file is closed when the context ends
    if alpha is not None:
        canvas = Image.new("RGB", picture.size, background)
        canvas.paste(picture, mask=alpha)
        picture = canvas
    return picture if turn is None else picture.transpose(turn)


@contextmanager
def _opened(path: Path, *, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture for decoding inside the context; every reader's complaint leaves it as one FileError."""
    try:
        with _whole_files_only(), warnings.catch_warnings():
            # The limit below is ours, and what a reader merely warns of either decodes or raises later.
            for kind in (Image.DecompressionBombWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            # A file object keeps Pillow from memory mapping, which garbles turned TIFFs without compression.
            with path.open("rb") as file, Image.open(file, formats=_kinds(path)) as image:
                _refuse_bomb(image.size, path, max_pixels=max_pixels)
                yield image
    except UnidentifiedImageError as error:
        what = "the file is empty" if _is_empty(path) else "this is no picture, or of a kind that cannot be read here"
        raise FileError(what, where=shown(path), cure="Save it again as PNG, JPEG or WebP.") from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error), max_pixels=max_pixels) from error
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise unreadable(path, error) from error
    except DECODE_ERRORS as error:
        detail = str(error) or type(error).__name__
        what = f"the picture is damaged or cut off ({detail})"
        raise FileError(what, where=shown(path), cure="Copy or save the file again.") from error


@contextmanager
def _whole_files_only() -> Iterator[None]:
    """Make Pillow refuse files that are cut off, also where the host told it to fill them with grey."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _kinds(path: Path) -> tuple[str, ...]:
    Image.init()
    # TGA files have no signature: only the name can tell.
    wanted = (*_KINDS, "TGA") if path.suffix.lower() == ".tga" else _KINDS
    return tuple(kind for kind in wanted if kind in Image.OPEN)


def _refuse_bomb(size: tuple[int, int], path: Path, *, max_pixels: int) -> None:
    if size[0] < 1 or size[1] < 1:
        raise FileError("the picture has no pixels", where=shown(path), cure="Save it again.")
    if size[0] * size[1] > max_pixels:
        raise _too_large(path, f"{size[0]} x {size[1]}", max_pixels=max_pixels)


def _too_large(path: Path, detail: str, *, max_pixels: int) -> FileError:
    what = f"the picture is too large to open safely ({detail}; the limit is {max_pixels:,} pixels)"
    return FileError(what, where=shown(path), cure="Make it smaller, or raise the limit.")


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


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

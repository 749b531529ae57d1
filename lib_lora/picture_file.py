"""The one door through which a picture file reaches Pillow: judged by its first bytes, before memory is spent on it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from lib_lora.errors import FileError
from lib_lora.sentences import Sentence, quoted, say

MAX_PIXELS = 80_000_000  # about 320 MB decoded; below Pillow's own warning
MAX_TEXT = 16 * 2**20
"""Bytes of all unpacked texts and profiles of a PNG; the longest infotext has some kilobytes."""
MAX_SCANS = 100
"""Passes of a progressive JPEG over its picture; programs write about ten, and each costs the time of a decoding."""

# Kinds that are pictures and nothing else: EPS would start Ghostscript, PSD and ICO hide several sizes.
KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")

# What Pillow's readers are known to raise on damaged bytes, besides OSError.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    ImportError,  # a Pillow without color management
    ImageCms.PyCMSError,
    struct.error,
    zlib.error,
)

_CHUNK = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"


@contextmanager
def open_picture(
    file: BinaryIO, *, where: str = "", kinds: tuple[str, ...] = KINDS, max_pixels: int = MAX_PIXELS
) -> Iterator[Image.Image]:
    """Open a stranger's picture for decoding inside the context.

    Args:
        file: seekable; a file object also keeps Pillow from memory mapping, which garbles turned TIFFs.
        where: what the errors call it.
        kinds: Pillow's names of what it may be; what this Pillow cannot read is left out.
        max_pixels: what a header may promise at most, in pixels.

    Raises:
        FileError: it is no such picture, too large, or damaged; every complaint of a reader inside the context too.
    """
    try:
        with _whole_files_only(), warnings.catch_warnings():
            # The limits are ours, and what a reader merely warns of either decodes or raises later.
            for kind in (Image.DecompressionBombWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            _judge(file, where, max_pixels)
            Image.init()
            with Image.open(file, formats=tuple(kind for kind in kinds if kind in Image.OPEN)) as image:
                _judge_size(image.size, where, max_pixels)
                if image.format == "TIFF":
                    _judge_tiles(image, where, max_pixels)
                yield image
    except UnidentifiedImageError as error:
        empty = file.seek(0, io.SEEK_END) == 0
        what = say("The file is empty") if empty else say("This is no picture, or of a kind that cannot be read here")
        raise FileError(what, where=where, cure="Save it again as PNG, JPEG or WebP.") from error
    except Image.DecompressionBombError as error:
        raise _too_large(where, quoted(str(error)), max_pixels) from error
    except DECODE_ERRORS as error:
        what = say("The picture is damaged or cut off ({reason})", reason=error)
        raise FileError(what, where=where, cure="Copy or save the file again.") from error


@contextmanager
def _whole_files_only() -> Iterator[None]:
    """Make Pillow refuse files that are cut off, also where the host told it to fill them with grey."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _judge(file: BinaryIO, where: str, max_pixels: int) -> None:
    """Refuse what Pillow would pay for when it merely opens or later decodes the file."""
    file.seek(0)
    head = file.read(32)
    if head.startswith(_PNG) and head[12:16] == b"IHDR":
        _judge_size(struct.unpack(">2I", head[16:24]), where, max_pixels)
        _judge_png_texts(file, where)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        _judge_size(_webp_size(head), where, max_pixels)  # its decoder makes two canvases as soon as it is opened
    elif head.startswith(b"\xff\xd8\xff"):
        _judge_scans(file, where)
    file.seek(0)


def _judge_size(size: tuple[int, ...], where: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise FileError("The picture has no pixels", where=where, cure="Save it again.")
    if width * height > max_pixels:
        raise _too_large(where, say("{width} x {height}", width=width, height=height), max_pixels)


def _too_large(where: str, detail: Sentence, max_pixels: int) -> FileError:
    what = say(
        "The picture is too large to open safely ({size}; the limit is {limit:,} pixels)", size=detail, limit=max_pixels
    )
    return FileError(what, where=where, cure="Make it smaller.")


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return a WebP's size in pixels; damaged headers are left to its reader."""
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack("<2H", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return 1, 1


def _judge_png_texts(file: BinaryIO, where: str) -> None:
    """Unpack a PNG's compressed texts and profiles as far as they may go; hosts raise Pillow's own limits."""
    left = MAX_TEXT
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"):
            if length > left:
                raise _too_much_text(where)
            content = file.read(length)
            left -= length
            if kind != b"tEXt" and kind != b"eXIf":
                left -= _unpacked(kind, content, left)
            if left <= 0:
                raise _too_much_text(where)
            file.seek(4, io.SEEK_CUR)
        else:
            file.seek(length + 4, io.SEEK_CUR)


def _unpacked(kind: bytes, content: bytes, most: int) -> int:
    """Return how many bytes a text or profile unpacks to, counted up to ``most``; 0 where it is not packed."""
    _, _, rest = content.partition(b"\0")
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        if not packed:
            return 0
    else:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, most))
    except zlib.error:
        return 0  # damaged: its reader says so


def _too_much_text(where: str) -> FileError:
    what = say(
        "The texts inside the picture are too large to open safely (the limit is {size} MB)", size=MAX_TEXT // 2**20
    )
    return FileError(what, where=where, cure="Save it again without metadata.")


def _judge_scans(file: BinaryIO, where: str) -> None:
    """Count the scans of a JPEG; inside a scan's data the marker cannot occur."""
    scans, before = 0, b""
    while part := file.read(_CHUNK):
        scans += (before + part).count(b"\xff\xda")
        before = part[-1:]
    if scans > MAX_SCANS:
        what = say("The picture is drawn {n} times over itself, which no program needs", n=scans)
        raise FileError(what, where=where, cure="Save it again as PNG, JPEG or WebP.")


def _judge_tiles(image: Image.Image, where: str, max_pixels: int) -> None:
    """Refuse a TIFF whose tiles are far larger than the picture: each is decoded whole."""
    tags = getattr(image, "tag_v2", {})
    size = (tags.get(322, 1), tags.get(323, 1))
    if all(isinstance(side, int) for side in size):
        _judge_size(size, where, max_pixels)


def whole_picture(path: Path) -> Image.Image | None:
    """Return a picture that is kept; None where there is none, or one that is damaged: it is drawn again then."""
    try:
        with path.open("rb") as file, open_picture(file, kinds=("PNG",)) as opened:
            return opened.convert("RGB")
    except (OSError, FileError):
        return None

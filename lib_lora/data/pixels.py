"""Pixels of whatever kind to 8-bit sRGB, and smaller by area: decoded images in, images out, no files."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from lib_lora.picture_file import DECODE_ERRORS
from lib_lora.sentences import say

DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
NOTICE_ALPHA = say("with transparency: put on the background color")
NOTICE_DEEP = say("with more than 8 bits: scaled to 8 bits")
NOTICE_PROFILE = say("with a color profile that cannot be used: colors taken as they are")


def shrink_by_area(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the picture at a smaller size, each new pixel the exact mean of the area that it covers.

    Pillow's box filter counts border pixels fully or not at all, which makes edges jagged between whole factors.
    """
    pixels = np.asarray(picture)
    flat = pixels.reshape(*pixels.shape[:2], -1)
    rows = _mean_rows(flat, count=size[1])
    both = _mean_rows(rows.transpose(1, 0, 2), count=size[0]).transpose(1, 0, 2)
    rounded = np.clip(np.floor(both + (0.5 + 1e-9)), 0, 255).astype(np.uint8)  # halves go up despite rounding errors
    return Image.fromarray(np.ascontiguousarray(rounded.reshape(size[1], size[0], *pixels.shape[2:])))


def _mean_rows(values: np.ndarray, *, count: int) -> np.ndarray:
    """Average (n, m, c) along the first axis into (count, m, c), float64, by differences of the running integral."""
    length = values.shape[0]
    edges = np.arange(count + 1, dtype=np.float64) * length / count
    whole = np.minimum(edges.astype(np.int64), length - 1)
    part = (edges - whole)[:, None, None]
    result = np.empty((count, *values.shape[1:]), dtype=np.float64)
    strip = max(1, 4_000_000 // (length * values.shape[2]))  # bounds the memory of the integral to some 60 MB
    for start in range(0, values.shape[1], strip):
        block = values[:, start : start + strip].astype(np.float64)
        before = np.cumsum(block, axis=0) - block
        integral = before[whole] + part * block[whole]
        result[:, start : start + strip] = np.diff(integral, axis=0) * (count / length)
    return result


def has_transparency(image: Image.Image) -> bool:
    """Say whether any pixel of a decoded image may be less than opaque."""
    if image.mode in _ALPHA_MODES:
        lowest = image.getchannel(image.getbands()[-1]).getextrema()[0]
        return bool(lowest < 255)
    key = image.info.get("transparency")
    return min(key, default=255) < 255 if isinstance(key, bytes) else key is not None


def color_and_alpha(image: Image.Image, notices: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """Split a decoded image into its 8-bit colors (no alpha, no palette) and its alpha (mode L) or None."""
    if has_transparency(image):
        notices.append(NOTICE_ALPHA)
    if image.mode in DEEP_MODES:
        notices.append(NOTICE_DEEP)
        return _eight_bit(image)
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # A 16-bit PNG names its transparent color in 16 bits; Pillow kept the upper byte of each pixel.
        image = image.copy()
        image.info["transparency"] = tuple(part >> 8 for part in key)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("PA", "RGBa") or (key is not None and image.mode in ("1", "L", "P", "RGB")):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):
        return image.convert("RGB" if image.mode == "RGBA" else "L"), image.getchannel("A")
    if image.mode == "P":
        return image.convert("RGB"), None
    return (image.convert("L") if image.mode == "1" else image), None


def _eight_bit(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Scale grey levels of 16 or 32 bits or floats to 0..255 (mode L); a transparent level becomes alpha."""
    values = np.asarray(image)
    key = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == key, np.uint8(0), np.uint8(255))) if isinstance(key, int) else None
    rows = max(1, 4_000_000 // max(1, values.shape[1]))  # bounds the memory of the floats to some 100 MB
    strips = [slice(top, top + rows) for top in range(0, values.shape[0], rows)]
    low = min(float(_levels(values[strip]).min()) for strip in strips)
    high = max(float(_levels(values[strip]).max()) for strip in strips)
    if image.mode == "F":
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    else:
        low, high = 0.0, 65535.0 if high <= 65535.0 else float(2**31 - 1)
    scaled = np.empty(values.shape, dtype=np.uint8)
    for strip in strips:
        levels = (_levels(values[strip]) - low) * (255.0 / max(high - low, 1e-12))
        scaled[strip] = np.floor(np.clip(levels, 0, 255) + 0.5)
    return Image.fromarray(scaled), alpha


def _levels(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def to_rgb(image: Image.Image, profile: bytes | None, notices: list[str]) -> Image.Image:
    """Convert colors to sRGB: through the file's own ICC profile where it has a usable one, else plainly."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if image.mode == "RGB" and ImageCms.getProfileDescription(source).strip().startswith("sRGB"):
                return image  # a transform to itself would only round
            return _transformed(image, source)
        except DECODE_ERRORS:
            notices.append(NOTICE_PROFILE)
    if image.mode == "LAB":
        return _transformed(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return image.convert("RGB")


def _transformed(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    target = ImageCms.createProfile("sRGB")
    result = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    if result is None:
        raise ValueError("the color transform gave no picture")
    return result

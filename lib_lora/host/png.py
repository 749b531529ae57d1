"""A picture as a PNG file with its settings inside."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from lib_lora.atomic import replace_file
from lib_lora.host.infotext import png_info


def png_bytes(image: Image.Image, text: str = "") -> bytes:
    """Return ``image`` as a PNG file with ``text`` in it."""
    data = io.BytesIO()
    image.save(data, format="PNG", pnginfo=png_info(text) if text else None)
    return data.getvalue()


def write_png(path: Path, image: Image.Image, text: str = "") -> Path:
    """Write ``image`` as PNG with ``text`` in it, whole or not at all; a picture that is there is replaced.

    Raises:
        FileError: the disk refuses.
    """
    return replace_file(path, png_bytes(image, text), what="The picture")

"""Masks: which part of a picture is learned, from its transparency or from a file of its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from lib_lora.data.buckets import BucketPlan, apply_plan
from lib_lora.data.captions import folded
from lib_lora.data.files import file_digest, shown
from lib_lora.data.images import load_picture
from lib_lora.data.kinds import kind_of
from lib_lora.errors import InputError
from lib_lora.sentences import say
from lib_lora.walk import list_folder

MAX_DEPTH = 4
"""Folders below a folder of masks that are looked into."""
RATIO_ERROR = 0.02
"""By so much the shape of a mask may differ from its picture's: rounding of another size."""


class MaskFolder:
    """The masks in a folder, by the names of pictures in any case and Unicode form."""

    def __init__(self, folder: Path) -> None:
        """Index the folder.

        Raises:
            InputError: it is missing, or holds no picture.
        """
        if not os.path.isdir(folder):
            raise InputError("There is no such folder of masks", where=shown(folder), cure="Check the path.")
        self._by_name: dict[str, list[Path]] = {}
        for path in _pictures(folder, MAX_DEPTH):
            self._by_name.setdefault(folded(path.stem), []).append(path)
        if not self._by_name:
            cure = say("Put a black and white picture there for each picture, under its name.")
            raise InputError("The folder of masks holds no picture", where=shown(folder), cure=cure)

    def find(self, picture: Path) -> Path | None:
        """Return the mask of a picture: of those of its name the one whose folder is called like the picture's."""
        known = self._by_name.get(folded(picture.stem), [])
        return next((path for path in known if path.parent.name == picture.parent.name), known[0] if known else None)

    def digest(self, picture: Path) -> str:
        """Return what tells the mask of a picture from another one; empty where it has none."""
        path = self.find(picture)
        return "" if path is None else file_digest(path)


def _pictures(folder: Path, depth: int) -> Iterator[Path]:
    listing = list_folder(folder)
    yield from (path for path in listing.files if kind_of(path)[0] == "picture")
    for inner in listing.folders if depth else ():
        yield from _pictures(inner, depth - 1)


def mask_of(
    picture: Path, size: tuple[int, int], alpha: Image.Image | None, masks: MaskFolder | None
) -> Image.Image | None:
    """Return the mask of a picture (mode L, ``size``), white where it is learned; None where all of it is.

    Args:
        picture: its file.
        size: upright, in pixels.
        alpha: its transparency, where that is a mask.
        masks: where its mask may lie; with both, what either leaves out is left out.

    Raises:
        FileError: the mask cannot be read.
        InputError: it has another shape than the picture.
    """
    path = None if masks is None else masks.find(picture)
    if path is None:
        return alpha
    mask = load_picture(path, background=(0, 0, 0)).convert("L")
    wanted, has = size[0] / size[1], mask.width / mask.height
    if abs(has / wanted - 1) > RATIO_ERROR:
        raise InputError(
            "The mask is {a} x {b}, and its picture {c} x {d}: they have not the same shape",
            a=mask.width,
            b=mask.height,
            c=size[0],
            d=size[1],
            where=shown(path),
            cure="Make the mask anew from the picture as it is.",
        )
    mask = mask.resize(size, Image.Resampling.BILINEAR) if mask.size != size else mask
    return mask if alpha is None else ImageChops.multiply(mask, alpha)


def mask_weights(mask: Image.Image, plan: BucketPlan, *, step: int, floor: float) -> np.ndarray:
    """Return how much each latent counts, ``(h, w)`` float32 from ``floor`` to 1: the mean of the pixels below it.

    Args:
        mask: of the whole picture.
        plan: how the picture reaches its bucket.
        step: pixels of a latent's side.
        floor: the least that a latent counts.
    """
    values = np.asarray(apply_plan(mask, plan), dtype=np.float32) / 255
    height, width = (side // step for side in values.shape)
    areas = values[: height * step, : width * step].reshape(height, step, width, step)
    return np.maximum(areas.mean(axis=(1, 3)), np.float32(floor))


def overlaid(picture: Image.Image, mask: Image.Image, *, color: tuple[int, int, int] = (235, 40, 90)) -> Image.Image:
    """Return a picture with what its mask leaves out under a colored veil; the mask is of any size."""
    left_out = ImageChops.invert(mask.resize(picture.size)).point(lambda value: value * 3 // 5)
    veiled = picture.copy()
    veiled.paste(Image.new("RGB", picture.size, color), mask=left_out)
    return veiled

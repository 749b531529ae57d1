"""One picture to what the loop draws: cropped, encoded in each orientation, with the weights of its mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib_lora.data.buckets import BucketPlan, apply_plan
from lib_lora.data.dataset import Picture
from lib_lora.data.images import load_layers
from lib_lora.data.masks import MaskFolder, mask_of, mask_weights
from lib_lora.errors import InputError
from lib_lora.host.base import LoadedModel
from lib_lora.train.latent_cache import LatentCache
from lib_lora.train.options import TrainOptions
from lib_lora.train.options.masks import BACKGROUNDS


@dataclass(frozen=True)
class Encoded:
    """A picture as latents.

    Attributes:
        latents: ``(4, h, w)`` of each orientation.
        masks: how much each latent counts, ``(h, w)`` of each orientation; None where all count 1.
    """

    latents: tuple[Tensor, ...]
    masks: tuple[Tensor, ...] | None = None


def layers_of(picture: Path, options: TrainOptions) -> tuple[Image.Image, Image.Image | None]:
    """Return a picture on its background, and its mask; None where all of it is learned.

    Raises:
        FileError: it, or its mask, cannot be read.
        InputError: they have not the same shape.
    """
    image, alpha = load_layers(picture, background=BACKGROUNDS[options.background])
    masks = mask_folder(options.masks) if options.masks else None
    return image, mask_of(picture, image.size, alpha if options.alpha_mask else None, masks)


def mask_folder(place: str) -> MaskFolder:
    """Return a folder of masks; indexed anew where it changed."""
    folder = Path(place)
    return _indexed(folder, folder.stat().st_mtime_ns if folder.exists() else 0)


@lru_cache(maxsize=8)
def _indexed(folder: Path, _: int) -> MaskFolder:
    return MaskFolder(folder)


def encode_picture(
    model: LoadedModel,
    options: TrainOptions,
    picture: Picture,
    plan: BucketPlan,
    *,
    mirrored: bool,
    cache: LatentCache | None = None,
) -> Encoded:
    """Return a picture's latents, from ``cache`` where they are kept.

    Raises:
        InputError: the autoencoder cannot make numbers of it.
    """
    key = "" if cache is None else cache.key(picture, plan, options, mirrored=mirrored)
    latents = None if cache is None else cache.get(key)
    masked = is_masked(picture, options)
    image, mask = layers_of(picture.path, options) if masked or latents is None else (None, None)
    if latents is None and image is not None:
        latents = latents_of(model, apply_plan(image, plan), picture, mirrored=mirrored)
        if cache is not None:
            cache.put(key, latents)
    if mask is None or not masked or latents is None:
        return Encoded(latents or ())
    weights = torch.from_numpy(mask_weights(mask, plan, step=model.pixels_per_latent, floor=options.mask_floor))
    return Encoded(latents, (weights, weights.flip(-1)) if mirrored else (weights,))


def is_masked(picture: Picture, options: TrainOptions) -> bool:
    """Whether parts of a picture may count less."""
    return not picture.is_reg and bool(options.alpha_mask or options.masks)


def latents_of(model: LoadedModel, image: Image.Image, picture: Picture, *, mirrored: bool) -> tuple[Tensor, ...]:
    """Return the latents ``(4, h, w)`` of a cropped picture, and where ``mirrored`` is set of its mirror image.

    Raises:
        InputError: the autoencoder cannot make numbers of it.
    """
    array = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1
    pixels = torch.from_numpy(array.copy())[None]
    orientations = [pixels, pixels.flip(-1)] if mirrored else [pixels]
    latents = tuple(model.encode_images(one)[0].float().cpu() for one in orientations)
    if not all(torch.isfinite(one).all() for one in latents):
        raise InputError("The autoencoder returned NaN for this picture", where=str(picture.path), cure="Remove it.")
    return latents

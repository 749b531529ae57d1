"""Pictures that are another one each time they are drawn, so that their latents are made anew in every step."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from lib_lora.data.buckets import BucketPlan, apply_plan
from lib_lora.data.dataset import Picture
from lib_lora.data.masks import mask_weights
from lib_lora.data.vary import cropped_elsewhere, recolored
from lib_lora.errors import AtelierError
from lib_lora.host.base import LoadedModel
from lib_lora.sentences import Sentence, say
from lib_lora.train.encoding import is_masked, latents_of, layers_of
from lib_lora.train.options import TrainOptions
from lib_lora.train.pictures import each_options, options_for

LIMIT = 512 * 2**20
"""Bytes of decoded pictures that are kept in main memory: 160 of a megapixel."""

_Layers = tuple[Image.Image, Image.Image | None]


class DecodedPictures:
    """Pictures and masks from their files, the newest kept."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._kept: OrderedDict[tuple, _Layers] = OrderedDict()
        self._limit, self._bytes = limit, 0

    def layers(self, picture: Picture, options: TrainOptions) -> _Layers:
        """Return a picture on its background, and its mask.

        Raises:
            AtelierError: a file was changed or taken away meanwhile.
        """
        key = (picture.path, options.background, options.alpha_mask, options.masks)
        if key not in self._kept:
            made = layers_of(picture.path, options)
            self._kept[key] = made
            self._bytes += _bytes(made)
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(key)
        return self._kept[key]


def _bytes(layers: _Layers) -> int:
    return sum(each.width * each.height * len(each.getbands()) for each in layers if each is not None)


@dataclass(frozen=True)
class Varied:
    """How one picture is made anew."""

    model: LoadedModel
    options: TrainOptions
    picture: Picture
    plan: BucketPlan
    decoded: DecodedPictures

    def encode(self, rng: random.Random, *, mirrored: bool) -> tuple[Tensor, Tensor | None]:
        """Return latents ``(4, h, w)`` and how much each counts ``(h, w)``, with a crop and colors of ``rng``.

        Raises:
            AtelierError: its file was changed or taken away, or the autoencoder cannot make numbers of it.
        """
        plan = cropped_elsewhere(self.plan, rng) if self.options.random_crop else self.plan
        image, mask = self.decoded.layers(self.picture, self.options)
        cropped = apply_plan(image, plan)
        if self.options.color_aug:
            cropped = recolored(cropped, rng)
        if mirrored:
            cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        # What a training computes under would round the autoencoder's numbers as well.
        with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
            (latents,) = latents_of(self.model, cropped, self.picture, mirrored=False)
        if mask is None or not is_masked(self.picture, self.options):
            return latents, None
        step, floor = self.model.pixels_per_latent, self.options.mask_floor
        weights = torch.from_numpy(mask_weights(mask, plan, step=step, floor=floor))
        return latents, weights.flip(-1) if mirrored else weights


def varies(options: TrainOptions) -> bool:
    """Whether a picture with these options is another one each time."""
    return options.random_crop or options.color_aug


def any_varies(options: TrainOptions) -> bool:
    """Whether any picture of a run is another one each time; a dataset file that is gone says nothing of it."""
    try:
        return any(map(varies, each_options(options)))
    except AtelierError:
        return varies(options)


def varied_remarks(options: TrainOptions, pictures: Sequence[Picture]) -> tuple[Sentence, ...]:
    """Return what a plan says of pictures that are encoded anew in every step."""
    count = sum(varies(options_for(picture, options)) for picture in pictures)
    if not count:
        return ()
    return (
        say(
            "{n} {n:picture is|pictures are} cropped or colored anew each time, so {n:it is|they are} encoded in every "
            "step and steps take longer",
            n=count,
        ),
    )


def still_there(error: AtelierError) -> Sentence:
    """Return the remark on a picture that could not be made anew."""
    return say("a picture could not be made anew and is used as it was at the start: {error}", error=error)

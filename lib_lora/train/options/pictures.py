"""How pictures are brought to size."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option


@dataclass(frozen=True)
class PictureOptions:
    """See `TrainOptions`."""

    resolution: int = option(
        0, "Training size", "Side of the training pictures in pixels; 0 is the model's own size.", low=0, high=4096
    )
    resolution_height: int = option(
        0,
        "Height",
        "Where the training size is no square: its height in pixels; with buckets only the area counts.",
        low=0,
        high=4096,
    )
    buckets: bool = option(
        True, "Buckets", "Pictures are trained in their own shape; else all are cropped to the training size."
    )
    bucket_step: int = option(
        0,
        "Bucket step",
        "Sides of buckets are multiples of so many pixels; 0 chooses by itself: 64, or 32 for small models.",
        low=0,
        high=512,
    )
    bucket_min: int = option(0, "Shortest side", "Of a bucket in pixels; 0 chooses by itself.", low=0, high=8192)
    bucket_max: int = option(0, "Longest side", "Of a bucket in pixels; 0 chooses by itself.", low=0, high=8192)
    bucket_upscale: bool = option(
        True, "Enlarge small pictures", "Small pictures are enlarged to the training size; else they stay small."
    )
    flip: bool = option(False, "Mirror too", "Learns mirrored pictures too; only for what is symmetric.")
    random_crop: bool = option(
        False,
        "Crop by chance",
        "Crops each picture elsewhere each time, not at its center; encoded in every step, which takes time.",
    )
    color_aug: bool = option(
        False,
        "Change colors by chance",
        "Turns hues or changes gamma a little in one of three draws; encoded in every step, which takes time.",
    )
    cache_to_disk: bool = option(
        False,
        "Keep encodings",
        "Encoded pictures and captions are kept beside the runs: a next run, or one that goes on, encodes none again.",
    )

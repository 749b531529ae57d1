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
    bucket_step: int = option(
        0,
        "Bucket step",
        "Sides of buckets are multiples of so many pixels; 0 chooses by itself: 64, or 32 for small models.",
        low=0,
        high=512,
    )
    bucket_upscale: bool = option(
        True, "Enlarge small pictures", "Small pictures are enlarged to the training size; else they stay small."
    )
    flip: bool = option(False, "Mirror too", "Learns mirrored pictures too; only for what is symmetric.")

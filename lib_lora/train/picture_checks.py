"""Options of pictures that contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib_lora.errors import InputError

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions


def check_pictures(options: TrainOptions) -> None:
    """Refuse them.

    Raises:
        InputError: naming the options.
    """
    beside = [name for name in ("images", "reg_images") if getattr(options, name)]
    if options.dataset_config and beside:
        raise InputError(
            "The dataset file says which folders are trained",
            where=", ".join(["dataset_config", *beside]),
            cure="Leave out the folders, or the dataset file.",
        )
    if options.resolution_height and not options.resolution:
        raise InputError(
            "A height needs a width beside it", where="resolution_height", cure="Give resolution as well, or neither."
        )
    if options.bucket_min and options.bucket_max and options.bucket_min > options.bucket_max:
        raise InputError(
            "The shortest side of a bucket is longer than the longest",
            where="bucket_min, bucket_max",
            cure="Leave out both for the usual ones.",
        )

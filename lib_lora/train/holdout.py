"""Pictures that are never trained, and only measured: their loss rises where a run learns the others by heart."""

from __future__ import annotations

import random
from dataclasses import replace

from lib_lora.data.dataset import FolderScan, Picture
from lib_lora.sentences import say
from lib_lora.train.options import TrainOptions

LEAST = 10
"""Of fewer pictures none can be spared."""


def parted(options: TrainOptions, found: FolderScan) -> tuple[FolderScan, tuple[Picture, ...]]:
    """Return what is trained, and what is held out: by the seed, so that a resumed run has the same."""
    train = sorted(found.train, key=lambda picture: picture.path)
    if not options.holdout or len(train) < LEAST:
        return found, ()
    chosen = random.Random(options.seed).sample(train, max(1, round(options.holdout * len(train))))
    paths = {picture.path for picture in chosen}
    kept = tuple(picture for picture in found.pictures if picture.is_reg or picture.path not in paths)
    return replace(found, pictures=kept), tuple(sorted(chosen, key=lambda picture: picture.path))


def held_remarks(options: TrainOptions, found: FolderScan) -> tuple[str, ...]:
    """Return what a person should know of the pictures that are held out."""
    if not options.holdout:
        return ()
    held = parted(options, found)[1]
    if not held:
        return (say("no picture is held out, because there are fewer than {n}", n=LEAST),)
    return (say("held out, measured and never trained: {names}", names=[picture.path.name for picture in held]),)

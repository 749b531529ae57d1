"""Latents of one autoencoder, kept on the disk."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lib_lora.data.buckets import BucketPlan
from lib_lora.data.dataset import Picture
from lib_lora.host.base import LoadedModel
from lib_lora.train.kept_encodings import KeptEncodings, key_of, weights_digest
from lib_lora.train.options import TrainOptions

FOLDER = ".latents"
"""Beside the runs, shared by all of them."""
VERSION = 2
"""Of how pictures become latents here; a new one makes all that is kept useless."""


class LatentCache(KeptEncodings):
    """Latents of each orientation, one file a picture, found by the contents of all that they come from."""

    def __init__(self, folder: Path, model: LoadedModel) -> None:
        super().__init__(folder)
        vae = model.vae
        self._made_by = (model.family, str(model.dtype), weights_digest([vae] if isinstance(vae, nn.Module) else []))

    def key(self, picture: Picture, plan: BucketPlan, options: TrainOptions, *, mirrored: bool) -> str:
        """Return a key that changes with the picture's bytes, its crop, its background, and the autoencoder."""
        return key_of(VERSION, picture.digest, plan.resize, plan.crop, options.background, mirrored, self._made_by)

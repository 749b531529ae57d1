"""Latents kept on the disk by what they are made of, so that a run that goes on encodes nothing again."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from lib_lora.data import BucketPlan, Picture
from lib_lora.errors import FileError
from lib_lora.host.base import LoadedModel
from lib_lora.train.options import TrainOptions
from lib_lora.train.states import read_state, write_state

FOLDER = ".latents"
"""Beside the runs, shared by all of them; it may be deleted at any time."""
VERSION = 1
"""Of how pictures become latents here; a new one makes all that is kept useless."""

logger = logging.getLogger(__name__)


class LatentCache:
    """Latents of one autoencoder, one file a picture, found by the contents of all that they come from."""

    def __init__(self, folder: Path, model: LoadedModel) -> None:
        self._folder, self._made_by = folder, autoencoder_digest(model)
        self.damaged = 0
        """Files that were there and could not be used; their pictures are encoded anew."""

    def key(self, picture: Picture, plan: BucketPlan, options: TrainOptions, *, mirrored: bool) -> str:
        """Return 64 hex digits that change with the picture's bytes, its crop, its background, and the autoencoder."""
        parts = (VERSION, picture.digest, plan.resize, plan.crop, options.background, mirrored, self._made_by)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def get(self, key: str) -> tuple[Tensor, ...] | None:
        """Return the latents of each orientation; None where there are none, or none that are whole."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            kept = read_state(path)
            return tuple(kept["latents"]) if kept.get("key") == key else None
        except FileError as error:
            self.damaged += 1
            logger.warning("%s is encoded anew: %s", path.name, error.what)
            return None

    def put(self, key: str, latents: tuple[Tensor, ...]) -> None:
        """Keep the latents of a picture; a disk that refuses costs nothing but the time of the next start."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_state(path, {"key": key, "latents": [one.contiguous() for one in latents]})
        except (OSError, FileError) as error:
            logger.warning("latents are not kept: %s", error)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.state"


def autoencoder_digest(model: LoadedModel) -> str:
    """Return what tells a model's autoencoder, and the precision that it computes in, from any other."""
    digest = hashlib.sha256(repr((model.family, str(model.dtype))).encode())
    vae = model.vae
    for name, value in sorted(vae.state_dict().items()) if isinstance(vae, nn.Module) else ():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

"""Encodings kept on the disk by what they are made of, so that a run that goes on encodes nothing again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lib_lora.errors import FileError
from lib_lora.sentences import Sentence, say
from lib_lora.train.states import read_state, write_state

logger = logging.getLogger(__name__)


class KeptEncodings:
    """Tensors in a folder, one file for each key; the folder may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.damaged = 0
        """Files that were there and could not be used; what they held is encoded anew."""

    def get(self, key: str) -> tuple[Tensor, ...] | None:
        """Return what is kept under a key; None where there is nothing, or nothing that is whole."""
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

    def put(self, key: str, tensors: Sequence[Tensor]) -> None:
        """Keep tensors; a disk that refuses costs nothing but the time of the next start."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_state(path, {"key": key, "latents": [one.contiguous() for one in tensors]})
        except (OSError, FileError) as error:
            logger.warning("encodings are not kept: %s", error)

    @property
    def remark(self) -> Sentence:
        """What a person should know of those that were damaged."""
        return say("encodings kept on the disk that were damaged and made anew: {n}", n=self.damaged)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.state"


def key_of(*parts: object) -> str:
    """Return 64 hex digits that change with any of the parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def weights_digest(networks: Iterable[nn.Module]) -> str:
    """Return what tells the weights of networks from any others."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in sorted(network.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

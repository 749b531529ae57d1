"""A checkpoint's file as far as its header tells it: family, and where it keeps the layers that a LoRA changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lib_lora.architectures.base import OTHER, Architecture
from lib_lora.architectures.registry import architectures, family_of_checkpoint
from lib_lora.architectures.stored import StoredLayer, root_of, stored_layers
from lib_lora.errors import FileError
from lib_lora.formats.dialects import settled_key
from lib_lora.formats.files import is_pickle
from lib_lora.formats.header import Header, read_header
from lib_lora.formats.keys import is_module_key
from lib_lora.sentences import say

COMPUTED = frozenset({"F16", "BF16", "F32", "F64"})
"""Types of weights that can be changed; numbers of 8 bits and fewer would swallow what a LoRA adds."""


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint that was looked at and not loaded.

    Attributes:
        path: where it lies.
        header: its tensors' places and its metadata.
        family: of models.
        layers: what a LoRA can change, by kohya's names.
    """

    path: Path
    header: Header
    family: Architecture
    layers: Mapping[str, StoredLayer]

    @cached_property
    def used(self) -> frozenset[str]:
        """The names of the tensors that hold such layers."""
        return frozenset(name for one in self.layers.values() for name in (one.weight, one.bias) if name is not None)

    def find(self, key: str) -> StoredLayer | None:
        """Return the layer that a LoRA's module changes, in whichever spelling; None where the file has none."""
        module = self.family.find(key)
        names = (key, settled_key(key, self.family.name), key if module is None else module.key)
        return next((self.layers[name] for name in names if name in self.layers), None)

    def shape(self, layer: StoredLayer) -> tuple[int, ...]:
        """Return the shape of a layer's weight, (out, in[, kh, kw]); of one without a weight none."""
        if layer.weight is None:
            return ()
        first, *rest = self.header.tensors[layer.weight].shape
        if layer.turned:
            return (*rest, first)
        return (first if layer.third is None else first // 3, *rest)


def read_checkpoint(path: str | Path) -> CheckpointFile:
    """Look at a checkpoint; only its header is read.

    Raises:
        FileError: it cannot be read, is a pickle or a LoRA, or of a family whose names are not known.
    """
    where = str(path)
    if is_pickle(path):
        cure = say("Convert it to .safetensors first; a pickle can run programs.")
        raise FileError("This checkpoint is a pickle", where=where, cure=cure)
    header = read_header(path)
    if any(map(is_module_key, header.tensors)):
        raise FileError("This is a LoRA, not a checkpoint", where=where, cure="Choose the file of a whole model.")
    family = _family(header)
    layers = {} if family is None else stored_layers(family, header.tensors)
    if family is None or not layers:
        raise FileError(
            "This is no checkpoint of a family whose layers are known",
            where=where,
            cure="Choose an SD1, SD2, SDXL, Flux or Anima model in one .safetensors file, not in diffusers' folders.",
        )
    return CheckpointFile(Path(path), header, family, layers)


def _family(header: Header) -> Architecture | None:
    """Return a checkpoint's family: by the signs of a whole file, else by the text that its cross-attention reads.

    Of families with the same signs the one counts whose blocks hold most of the file's layers.
    """
    found = family_of_checkpoint(header.tensors)
    if found is None:
        return _by_text_width(header)
    alike = [one for one in architectures() if one.checkpoint_signs == found.checkpoint_signs]
    root = root_of(header.tensors)
    paths = [name[len(root) :] for name in header.tensors if name.startswith(root)]
    return min(alike, key=lambda one: sum(one.block_of_path(path) == OTHER for path in paths))


def _by_text_width(header: Header) -> Architecture | None:
    root = root_of(header.tensors)
    read = (
        info.shape[1]
        for name, info in header.tensors.items()
        if name.startswith(root) and name.endswith("attn2.to_k.weight") and len(info.shape) > 1
    )
    width = next(read, None)
    with_unet = (one for one in architectures() if one.unet is not None)
    return next((one for one in with_unet if width in one.required_unet.cross_widths), None)

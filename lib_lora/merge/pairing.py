"""Two checkpoints layer by layer: what both have, and what only one of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lib_lora.architectures.stored import StoredLayer
from lib_lora.errors import InputError
from lib_lora.formats.checkpoint import COMPUTED, CheckpointFile
from lib_lora.formats.one_by_one import OpenTensors
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence, say

_AVERAGED = "model_ema."
"""Names of averaged weights, which no picture is made with."""


@dataclass(frozen=True)
class Pair:
    """One layer of two checkpoints: its kohya name, the shape of its weight (none: a bias alone), and where it is."""

    key: str
    shape: tuple[int, ...]
    new: StoredLayer
    old: StoredLayer

    @property
    def has_bias(self) -> bool:
        """Whether both have a bias in this layer."""
        return self.new.bias is not None and self.old.bias is not None


def pair(tuned: CheckpointFile, original: CheckpointFile) -> tuple[list[Pair], list[Sentence]]:
    """Return the layers that two checkpoints have in common, and what has to be said of the others.

    Raises:
        InputError: they are of different families, or have no layer in common.
    """
    if tuned.family is not original.family:
        raise InputError(
            "The checkpoints are of different families: {tuned} and {original}",
            tuned=tuned.family.title,
            original=original.family.title,
            where=both_names(tuned, original),
            cure="Choose the model that the tuned one was made from.",
        )
    both = [key for key in tuned.layers if key in original.layers]
    pairs, unlike = [], []
    for key in both:
        new, old = tuned.layers[key], original.layers[key]
        shape = tuned.shape(new)
        if shape != original.shape(old) or not shape:
            unlike.append(key)
        else:
            pairs.append(Pair(key, shape, new, old))
    if not pairs:
        raise InputError(
            "The checkpoints have no layer in common",
            where=both_names(tuned, original),
            cure="Choose the model that the tuned one was made from.",
        )
    notes = [_only(tuned, original), _only(original, tuned), _of_another_size(unlike)]
    return pairs, [note for note in notes if note is not None]


def both_names(tuned: CheckpointFile, original: CheckpointFile) -> Sentence:
    """Return how an error calls two checkpoints."""
    return say("tuned: {tuned}, original: {original}", tuned=tuned.path.name, original=original.path.name)


def _only(one: CheckpointFile, other: CheckpointFile) -> Sentence | None:
    missing = [key for key in one.layers if key not in other.layers]
    if not missing:
        return None
    return say(
        "{n} {n:layer is|layers are} in {name} only and {n:is|are} left out (e.g. {example}).",
        n=len(missing),
        name=one.path.name,
        example=missing[0],
    )


def _of_another_size(keys: Sequence[str]) -> Sentence | None:
    if not keys:
        return None
    return say(
        "{n} {n:layer has|layers have} another size in each checkpoint and {n:is|are} left out (e.g. {example}).",
        n=len(keys),
        example=keys[0],
    )


def rest_of(
    tuned: CheckpointFile, original: CheckpointFile, new: OpenTensors, old: OpenTensors, progress: Progress
) -> list[Sentence]:
    """Return what is to be said of tensors in no layer: averaged weights; embeddings and the autoencoder that differ.

    Raises:
        FileError: a file cannot be read; StoppedError: somebody asked to stop.
    """
    names = [
        name
        for name, info in tuned.header.tensors.items()
        if name not in tuned.used and not name.startswith(_AVERAGED) and name in original.header.tensors
    ]
    differing = []
    for number, name in enumerate(names):
        progress.passed(number, len(names), say("comparing the rest"))
        if tuned.header.tensors[name].shape == original.header.tensors[name].shape and _differ(name, new, old):
            differing.append(name)
    notes = [note for one in (tuned, original) if (note := _averaged(one)) is not None]
    if not differing:
        return notes
    return [
        *notes,
        say(
            "{n} {n:tensor|tensors} in which the checkpoints differ {n:is|are} outside of what a LoRA can hold: "
            "embeddings or the autoencoder (e.g. {example}).",
            n=len(differing),
            example=differing[0],
        ),
    ]


def _differ(name: str, new: OpenTensors, old: OpenTensors) -> bool:
    """Whether a tensor is another one in two files; of two types, by more than the coarser one rounds."""
    one, other = new.header.tensors[name], old.header.tensors[name]
    if one.dtype == other.dtype:
        return any(a != b for a, b in zip(new.blocks(name), old.blocks(name), strict=True))
    if one.dtype not in COMPUTED or other.dtype not in COMPUTED:
        return False
    first, second = new.tensor(name), old.tensor(name)
    kinds = [torch.finfo(each.dtype) for each in (first, second)]
    step, least = max(kind.eps for kind in kinds), max(kind.smallest_normal * kind.eps for kind in kinds)
    apart = (first.float() - second.float()).abs()
    return bool((apart > step * second.float().abs() + least).any())


def _averaged(one: CheckpointFile) -> Sentence | None:
    if not any(name.startswith(_AVERAGED) for name in one.header.tensors):
        return None
    return say("{name} holds averaged weights (EMA), too: its plain ones are compared.", name=one.path.name)

"""A LoRA file in memory: adapters by key, metadata, and whatever else the file held."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from lib_lora.blocks.layouts import OTHER, blocked_families, full_layout
from lib_lora.errors import FileError, InputError
from lib_lora.formats.adapters import Adapter, read_adapter
from lib_lora.formats.adapters.on_disk import PartTensors, outline_of
from lib_lora.formats.adapters.parts import SCALES, scaled_fp8
from lib_lora.formats.adapters.registry import rank_in
from lib_lora.formats.families import family_of
from lib_lora.formats.files import file_size, read_with_notes, write_tensors
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.metadata import complete
from lib_lora.formats.naming import Named, named
from lib_lora.formats.saving import check_target
from lib_lora.sentences import say

_T = TypeVar("_T")
_SHOWN = 5
"""Names that an error lists before it only counts."""


@dataclass
class LoraFile:
    """A LoRA; one with other adapters is a new object.

    Attributes:
        adapters: by kohya module name; those of a large file are read when they are asked for.
        metadata: the header's texts.
        extras: tensors that belong to no adapter.
        path: where the file lies.
        notes: what was assumed or left out on reading, in sentences for people.
    """

    adapters: Mapping[str, Adapter]
    metadata: dict[str, str] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def family(self) -> str:
        """The family of models that it was made for, by names and shapes; "unknown" where nothing tells it."""
        shapes = {
            f"{key}.{part}": tuple(tensor.shape)
            for key, adapter in self.outline.items()
            for part, tensor in adapter.tensors().items()
        }
        return family_of(shapes)

    @property
    def outline(self) -> Mapping[str, Adapter]:
        """The adapters as far as they are known without reading numbers: kinds, shapes, types, ranks, alphas."""
        return outline_of(self.adapters)

    @property
    def name(self) -> str:
        """The file's name without ending; of a LoRA not saved yet the name in its metadata."""
        return self.path.stem if self.path is not None else self.metadata.get("ss_output_name", "unsaved")

    @property
    def size(self) -> int:
        """Bytes of all tensors as they would be written."""
        adapted = (tensor for adapter in self.outline.values() for tensor in adapter.tensors().values())
        return sum(tensor.numel() * tensor.element_size() for tensor in (*adapted, *self.extras.values()))

    def to(self, device: torch.device | str) -> LoraFile:
        """Return the same LoRA with its adapters on ``device``."""
        return replace(self, adapters={key: adapter.to(device=device) for key, adapter in self.adapters.items()})

    def blocks(self) -> dict[str, list[str]]:
        """Return the keys of every block that has some, in the order of the family's full layout, ``other`` last."""
        family = self.family
        found: dict[str, list[str]] = {}
        for key in self.adapters:
            found.setdefault(block_of_key(key, family), []).append(key)
        return in_order_of_blocks(found, family)


def in_order_of_blocks(found: Mapping[str, _T], family: str) -> dict[str, _T]:
    """Return a table by block in the order of the family's full layout, ``other`` last."""
    names = full_layout(family).names if family in blocked_families() else ()
    ordered = [*names, *sorted(set(found) - set(names) - {OTHER}), OTHER]
    return {name: found[name] for name in ordered if name in found}


@dataclass(frozen=True)
class WholeFile:
    """A LoRA file as it is applied, and as it lies on the disk.

    Attributes:
        lora: the one that is applied.
        found: its tensors by kohya's names, in the file's types.
        tensors, metadata: under the file's own names.
        parts: by module and part the name of its tensor, of a file that is read piece by piece.
    """

    lora: LoraFile
    found: Named
    tensors: Mapping[str, Tensor]
    metadata: dict[str, str]
    parts: Mapping[str, Mapping[str, str | Tensor]] | None = None

    def module(self, key: str) -> dict[str, Tensor]:
        """Return the parts of a module in the file's types."""
        if self.parts is None:
            return self.found.modules[key]
        shapes, parts = self.found.modules[key], self.parts[key]
        found = {part: self.tensors[one] if isinstance(one, str) else one for part, one in parts.items()}
        return {part: one.reshape(shapes[part].shape) for part, one in found.items()}


def read_lora(path: str | Path) -> LoraFile:
    """Read a LoRA file of any kind that is applied; every spelling of names that is known becomes kohya's.

    Raises:
        FileError: the file is broken, no LoRA, of a kind that is not applied, or holds NaN or infinite numbers.
    """
    return read_whole(path).lora


def read_whole(path: str | Path) -> WholeFile:
    """Read a LoRA file as `read_lora` does, with its tensors as they lie there.

    Raises:
        FileError: as `read_lora`.
    """
    where = str(path)
    tensors, metadata, notes = read_with_notes(path)
    found = named(tensors, metadata, Path(path))
    refuse_strangers(found, where=where)
    adapters = {}
    for key in sorted(found.modules, key=natural):
        parts = {part: computable(tensor) for part, tensor in found.modules[key].items()}
        try:
            adapters[key] = read_adapter(key, parts)
        except FileError as error:
            error.where = say("{file}, {part}", file=where, part=error.where)
            raise
    refuse_broken_numbers(adapters, where=where)
    notes = (*notes, *found.notes, *alpha_notes(found), *assumptions(adapters.values()))
    extras = {name: computable(tensor) for name, tensor in found.extras.items()}
    return WholeFile(LoraFile(adapters, found.metadata, extras, Path(path), notes), found, tensors, metadata)


def computable(tensor: Tensor) -> Tensor:
    """Return a tensor of a type that can be computed with: fp8 as fp16, which holds every number of it exactly."""
    if not tensor.is_floating_point() or tensor.element_size() > 1:
        return tensor
    return tensor.to(torch.float32 if tensor.dtype is getattr(torch, "float8_e8m0fnu", None) else torch.float16)


def refuse_strangers(found: Named, *, where: str, known: bool = True) -> None:
    """Refuse a file without a LoRA, and with ``known`` one in which a LoRA's tensor is not understood.

    Raises:
        FileError: it is so; the first name is told.
    """
    if found.unknown and (known or not found.modules):
        if found.unknown[0].endswith(SCALES):
            raise scaled_fp8(say("{file}, {part}", file=where, part=found.unknown[0][:200]))
        what = (
            say("The spelling of this LoRA's names is not known")
            if not found.modules
            else say("A part is of an unknown kind")
        )
        cure = say("Use a file in kohya's, diffusers', PEFT's or ComfyUI's form.")
        raise FileError(what, where=say("{file}, {part}", file=where, part=found.unknown[0][:200]), cure=cure)
    if not found.modules:
        raise FileError("The file holds no LoRA", where=where, cure="Choose a LoRA file, not a checkpoint.")


def alpha_notes(found: Named) -> tuple[str, ...]:
    """Return what is to be said of alphas of 0."""
    without = [parts for parts in found.modules.values() if "alpha" in parts and not bool(parts["alpha"].float().any())]
    zero = sum(rank_in(parts) is not None for parts in without)
    notes = (say("In {n} {n:module|modules} alpha is 0; it is taken as the rank, as LyCORIS does.", n=zero),)
    return notes if zero else ()


def assumptions(adapters: Iterable[Adapter]) -> tuple[str, ...]:
    """Return what the files of some kinds do not say and is assumed, each sentence once."""
    return tuple(dict.fromkeys(filter(None, (adapter.assumed() for adapter in adapters))))


@lru_cache(maxsize=2**15)
def natural(key: str) -> tuple[str | int, ...]:
    """Return a sort key that puts layer 2 before layer 10."""
    return tuple(int(text) if text.isdecimal() and text.isascii() else text for text in re.split(r"(\d+)", key))


def refuse_broken_numbers(adapters: Mapping[str, Adapter], *, where: str) -> None:
    """Refuse adapters that hold NaN or infinite numbers.

    Raises:
        FileError: there are some; the first are named.
    """
    broken = [key for key, adapter in adapters.items() if not all(map(all_finite, adapter.parameters()))]
    if broken:
        n, names, more = len(broken), broken[:_SHOWN], len(broken) - _SHOWN
        what = say("{n} {n:module holds|modules hold} NaN or infinite numbers: {names}", n=n, names=names)
        if more > 0:
            what = say(
                "{n} {n:module holds|modules hold} NaN or infinite numbers: {names} and {more} more",
                n=n,
                names=names,
                more=more,
            )
        raise FileError(what, where=where, cure="The training failed there; use an earlier file of it.")


def all_finite(tensor: Tensor) -> bool:
    """Whether a tensor of any type holds neither NaN nor infinite numbers."""
    if not tensor.is_floating_point():
        return True
    values = tensor if tensor.element_size() > 1 else tensor.float()  # fp8 has no order
    if not values.numel():
        return True
    values = values.detach()
    try:
        ends = torch.aminmax(values)  # a fifth of the time of `isfinite`
    except RuntimeError:  # PyTorch 2.1 has none for fp16 on a CPU
        ends = torch.aminmax(values.float())
    return all(map(math.isfinite, map(float, ends)))


def predicted_size(lora: LoraFile, *, name: str = "unsaved") -> int:
    """Return the bytes of the file that `write_lora` would write under ``name``."""
    tensors = PartTensors(lora.adapters, lora.extras).outline
    return file_size(tensors, complete(lora.metadata, lora.outline, family=lora.family, name=name))


def write_lora(lora: LoraFile, path: str | Path, *, dtype: torch.dtype | None = None, overwrite: bool = False) -> Path:
    """Write a LoRA file atomically with completed metadata and true hashes, and return its path.

    ``dtype`` converts the adapters' tensors; alpha stays fp32 and extras stay as they are. Nothing of the file's
    folder goes into ``ss_output_name``.

    Raises:
        FileError: the target exists and ``overwrite`` is false, or the disk refuses.
        InputError: nothing to write, a type of whole numbers, or a number that ``dtype`` cannot hold.
    """
    target = Path(path)
    check_target(target, overwrite=overwrite)
    if dtype is not None and not dtype.is_floating_point:
        cure = say("Save as fp16, bf16 or fp32.")
        raise InputError("A LoRA's numbers cannot be whole numbers", where=str(dtype), cure=cure)
    if not lora.adapters:
        raise InputError("There is nothing to write", where=target.name, cure="Keep at least one module.")
    adapters = lora.adapters
    if dtype is not None:
        adapters = {key: adapter.to(dtype=dtype) for key, adapter in adapters.items()}
    for key, adapter in adapters.items():
        if not all(map(all_finite, adapter.parameters())):
            what = (
                say("Numbers are too large for {kind}", kind=dtype)
                if dtype
                else say("Numbers are too large for saving")
            )
            raise InputError(what, where=key, cure="Save as bf16 or fp32.")
    metadata = complete(lora.metadata, lora.outline, family=lora.family, name=target.stem)
    return write_tensors(target, PartTensors(adapters, lora.extras), metadata, overwrite=overwrite)

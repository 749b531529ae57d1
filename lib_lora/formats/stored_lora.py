"""A LoRA file whose adapters are read one at a time, however large it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.adapters import Adapter, read_adapter
from lib_lora.formats.adapters.on_disk import Outlined, StoredAdapters, passing
from lib_lora.formats.files import is_pickle, torch_types
from lib_lora.formats.header import Header, read_header
from lib_lora.formats.lora import (
    LoraFile,
    WholeFile,
    all_finite,
    alpha_notes,
    assumptions,
    computable,
    natural,
    read_whole,
    refuse_broken_numbers,
    refuse_strangers,
)
from lib_lora.formats.naming import Named, named, same
from lib_lora.formats.one_by_one import OpenTensors, open_tensors
from lib_lora.sentences import say

_SMALL = 64
"""Bytes up to which a tensor is read at once: alphas and the like, whose numbers tell how a file is read."""
_SOON_READ = 16 * 2**20
"""Bytes of a file that is read whole."""


def open_lora(path: str | Path) -> LoraFile:
    """Open a LoRA file as `read_lora` reads it; a large one's adapters are read when they are asked for.

    Raises:
        FileError: as `read_lora`; of numbers that are NaN or infinite where an adapter is read.
    """
    return open_whole(path).lora


def open_whole(path: str | Path) -> WholeFile:
    """Open a LoRA file as `read_whole` reads it; a large one's tensors are read when they are asked for.

    Raises:
        FileError: as `open_lora`.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except (OSError, ValueError):  # `read_whole` says why
        size = 0
    if size <= _SOON_READ or is_pickle(path):
        return read_whole(path)
    header = read_header(path)
    source = _Source(path, header)
    found = named(source.outline, header.metadata, path)
    parts = source.sources(found)
    if parts is None:  # PEFT's numbers are multiplied in: what a part is takes more than one tensor
        return read_whole(path)
    for first, second in found.twice:
        where = say("{file}, {part}", file=str(path), part=[first, second])
        same(source.tensor(first).flatten(), source.tensor(second).flatten(), where=where)
    refuse_strangers(found, where=str(path))
    outline = {key: source.adapter(key, found.modules[key]) for key in sorted(found.modules, key=natural)}

    def read(key: str) -> Adapter:
        real = source.real(parts[key])
        adapter = source.adapter(key, {part: one.reshape(found.modules[key][part].shape) for part, one in real.items()})
        if not all(map(all_finite, adapter.parameters())):
            refuse_broken_numbers(read_whole(path).lora.adapters, where=str(path))  # names all of them
        return adapter

    notes = (*header.notes, *found.notes, *alpha_notes(found), *assumptions(outline.values()))
    extras = {name: computable(source.tensor(name)) for name in found.extras}
    lora = LoraFile(StoredAdapters(outline, read), found.metadata, extras, path, notes)
    return WholeFile(lora, found, source, header.metadata, parts)


class _Source(Outlined, Mapping[str, Tensor]):
    """The tensors of an open file under its own names."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header = path, header
        types = torch_types(header, header.tensors, where=str(path))
        names = sorted(header.tensors, key=lambda name: header.tensors[name].start)
        self.outline = {
            name: torch.empty(header.tensors[name].shape, dtype=types[header.tensors[name].dtype], device="meta")
            for name in names
        }
        with open_tensors(path, header) as file:
            self._stamp = _stamp(file.file)
            small = (name for name, info in header.tensors.items() if info.end - info.start <= _SMALL)
            self.outline.update({name: file.tensor(name) for name in small})

    def sources(self, found: Named) -> dict[str, dict[str, str | Tensor]] | None:
        """Return by module and part the tensor's name in the file, or the tensor where it is small.

        None where a part is not simply one of the file's tensors, in its shape or another.
        """
        parts: dict[str, dict[str, str | Tensor]] = {}
        for key, tensors in found.modules.items():
            names = found.names[key]
            parts[key] = {part: names.get(part, one) if one.is_meta else one for part, one in tensors.items()}
            for part, one in tensors.items():
                own = self.outline.get(names.get(part, ""))
                if one.is_meta and one is not own and (own is None or part != "dora_scale"):
                    return None
        return parts

    def adapter(self, key: str, parts: Mapping[str, Tensor]) -> Adapter:
        """Return a module's adapter, with its numbers or without."""
        try:
            return read_adapter(key, {part: computable(one) for part, one in parts.items()})
        except FileError as error:
            error.where = say("{file}, {part}", file=str(self.path), part=error.where)
            raise

    def real(self, parts: Mapping[str, str | Tensor]) -> dict[str, Tensor]:
        """Return a module's tensors.

        Raises:
            FileError: the file is not the one any more that was opened.
        """
        with self._opened() as file:
            return {part: file.tensor(one) if isinstance(one, str) else one for part, one in parts.items()}

    def tensor(self, name: str) -> Tensor:
        """Return a tensor as it lies in the file; raises as `real`."""
        with self._opened() as file:
            return file.tensor(name)

    @contextmanager
    def _opened(self) -> Iterator[OpenTensors]:
        with open_tensors(self.path, self.header) as file:
            if _stamp(file.file) != self._stamp:
                cure = say("Try again when nothing writes it any more.")
                raise FileError("The file changed while it was read", where=str(self.path), cure=cure)
            yield file

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.outline:
            raise KeyError(name)
        passing.count(self.header.tensors[name].end - self.header.tensors[name].start)
        return self.tensor(name)


def _stamp(file: BinaryIO) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns

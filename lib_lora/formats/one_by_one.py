"""A safetensors file that is read one tensor at a time, however large it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.files import torch_type
from lib_lora.formats.header import ITEM_BYTES, Header, header_of, open_regular
from lib_lora.sentences import say

_CHUNK = 2**20


@dataclass(frozen=True)
class OpenTensors:
    """An open file and its checked header; its tensors are read when they are asked for, and belong to who asks."""

    file: BinaryIO
    header: Header
    where: str
    _types: dict[str, torch.dtype] = field(default_factory=dict, repr=False, compare=False)

    def tensor(self, name: str, *, third: int | None = None) -> Tensor:
        """Return a tensor on the CPU in the file's type, or the rows of one of its three thirds.

        Raises:
            FileError: the disk fails, the file changed meanwhile, or this PyTorch has no such numbers.
        """
        info = self.header.tensors[name]
        if info.dtype not in self._types:
            place = say("{file}, tensor {name!r}", file=self.where, name=name[:200])
            self._types[info.dtype] = torch_type(info.dtype, where=place)
        dtype, shape, start = self._types[info.dtype], info.shape, info.start
        if third is not None:
            shape = (shape[0] // 3, *shape[1:])
            start += third * prod(shape) * ITEM_BYTES[info.dtype]
        data = bytearray(prod(shape) * ITEM_BYTES[info.dtype])
        if not data:
            return torch.empty(shape, dtype=dtype)
        self.fill(data, start)
        return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(shape)

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield a tensor's bytes, a megabyte at a time.

        Raises:
            FileError: as `tensor`.
        """
        info = self.header.tensors[name]
        for start in range(info.start, info.end, _CHUNK):
            data = bytearray(min(_CHUNK, info.end - start))
            self.fill(data, start)
            yield bytes(data)

    def fill(self, data: bytearray | memoryview, start: int) -> None:
        """Read bytes from a place of the data region on; before 0 lies the header.

        Raises:
            FileError: the disk fails, or the file changed meanwhile.
        """
        try:
            self.file.seek(self.header.data_start + start)
            count = self.file.readinto(data)  # type: ignore[attr-defined]  # what `open` returns for "rb" has it
        except OSError as error:
            cure = say("Check the disk.")
            raise FileError("The file cannot be read: {reason}", reason=error, where=self.where, cure=cure) from error
        if count != len(data):
            cure = say("Try again when nothing writes it any more.")
            raise FileError("The file changed while it was read", where=self.where, cure=cure)


@contextmanager
def open_tensors(path: str | Path, header: Header | None = None) -> Iterator[OpenTensors]:
    """Open a safetensors file and check its header; one whose header is known already, as it was then.

    Raises:
        FileError: the file is missing, not a file, truncated, or its header lies about the data.
    """
    with open_regular(path) as file:
        yield OpenTensors(file, header or header_of(file, where=str(path)), str(path))

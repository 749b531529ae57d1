"""A LoRA file read through once: its two hashes, and which of its tensors hold numbers that are none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.formats.files import torch_types
from lib_lora.formats.hashes import HASHING
from lib_lora.formats.header import Header
from lib_lora.formats.lora import all_finite
from lib_lora.formats.one_by_one import OpenTensors, open_tensors
from lib_lora.progress import QUIET, Progress

_RUN = 2**20
"""Bytes that are read and looked at together."""


@dataclass(frozen=True)
class ReadThrough:
    """What the bytes of a file tell.

    Attributes:
        tensors: SHA-256 of the tensor bytes; see `hashes.tensor_hash`.
        whole: SHA-256 of the file.
        broken: the tensors with NaN or infinite numbers, in the file's order; alphas are told apart.
    """

    tensors: str
    whole: str
    broken: tuple[str, ...]


def read_through(path: Path, header: Header, progress: Progress = QUIET) -> ReadThrough:
    """Read a safetensors file once.

    Args:
        path: the file.
        header: its header, checked before.
        progress: is told the megabytes read and all of them, and may stop it.

    Raises:
        FileError: it cannot be read, or changed meanwhile; StoppedError: somebody asked to stop.
    """
    types = torch_types(header, header.tensors, where=str(path))
    broken: list[str] = []
    whole, tensors, buffer = hashlib.sha256(), hashlib.sha256(), memoryview(bytearray(_RUN))
    with open_tensors(path, header) as file:
        head = bytearray(header.data_start)
        file.fill(head, -header.data_start)
        whole.update(head)
        for names, start, end in _runs(header):
            data = buffer[: end - start]
            file.fill(data, start)
            for digest in (whole, tensors):
                digest.update(data)
            dtype = types[header.tensors[names[0]].dtype]
            if data and not all_finite(torch.frombuffer(data, dtype=torch.uint8).view(dtype)):
                broken += [name for name in names if name not in broken and not _sound(name, file)]
            progress.passed(-(-end // _RUN), -(-header.size // _RUN), HASHING)
    return ReadThrough(tensors.hexdigest(), whole.hexdigest(), tuple(broken))


def _runs(header: Header) -> Iterator[tuple[Sequence[str], int, int]]:
    """Yield pieces of a megabyte at most, each of one type: the tensors that it may be of, its start and its end."""
    names: list[str] = []
    start = end = 0
    for name in sorted(header.tensors, key=lambda name: (header.tensors[name].start, header.tensors[name].end)):
        info = header.tensors[name]
        if names and (info.dtype != header.tensors[names[0]].dtype or info.end - start > _RUN):
            yield names, start, end
            names, start = [], end
        names, end = [*names, name], info.end
        while end - start > _RUN:  # a megabyte is a whole number of any numbers
            yield names, start, start + _RUN
            start += _RUN
    if names:
        yield names, start, end


def _sound(name: str, file: OpenTensors) -> bool:
    return name.endswith(".alpha") or all_finite(file.tensor(name))


def unsound(tensors: dict[str, Tensor]) -> tuple[str, ...]:
    """Return the names of tensors in memory with NaN or infinite numbers, but for alphas."""
    return tuple(name for name, one in tensors.items() if not (name.endswith(".alpha") or all_finite(one)))

"""Adapters that lie on the disk and are read one at a time: those of a file, and new ones until they are saved.

Each has an outline in memory: the same adapter without its numbers, which tells kind, shapes, types, rank and alpha.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.process import return_freed
from lib_lora.sentences import say

KEPT = 64 * 2**20
"""Bytes of new adapters that stay in memory; what comes after them goes to the disk."""


def outline_of(adapters: Mapping[str, Adapter]) -> Mapping[str, Adapter]:
    """Return adapters as far as they are known without reading numbers; those in memory as they are."""
    found: Mapping[str, Adapter] = getattr(adapters, "outline", adapters)
    return found


class Passing:
    """Counts what passes through memory, and returns what was freed to the system now and then.

    The C library keeps freed blocks between small ones that stay: reading a file piece by piece would need as much
    memory as the whole of it.
    """

    def __init__(self) -> None:
        self._since = 0

    def count(self, size: int) -> None:
        """Note that so many bytes were read or put away."""
        self._since += size
        if self._since >= KEPT:
            self._since = 0
            return_freed()


passing = Passing()


class Outlined:
    """A mapping whose names are those of its ``outline``; asking for them reads nothing."""

    outline: Mapping[str, Any]

    def __contains__(self, name: object) -> bool:
        return name in self.outline

    def __iter__(self) -> Iterator[str]:
        return iter(self.outline)

    def __len__(self) -> int:
        return len(self.outline)


class StoredAdapters(Outlined, Mapping[str, Adapter]):
    """Adapters that are read when they are asked for, and belong to who asks.

    Args:
        outline: each without its numbers, in the order in which they are gone through.
        read: gets a key, and returns the adapter.
    """

    def __init__(self, outline: Mapping[str, Adapter], read: Callable[[str], Adapter]) -> None:
        self.outline, self._read = outline, read

    def __getitem__(self, key: str) -> Adapter:
        if key not in self.outline:
            raise KeyError(key)
        passing.count(sum(t.numel() * t.element_size() for t in self.outline[key].parameters()))
        return self._read(key)

    def changed(self, change: Callable[[Adapter], Adapter]) -> StoredAdapters:
        """Return them with something done to each when it is read; it can be done to an outline as well."""
        return StoredAdapters(
            {key: change(one) for key, one in self.outline.items()}, lambda key: change(self._read(key))
        )


class TensorScratch(Outlined, MutableMapping[str, Tensor]):
    """New tensors by name, of which only the first are in memory; a file without a name holds the others.

    The system takes the file away with the process, however that ends. What is replaced or deleted leaves its room.
    """

    def __init__(self, *, kept: int = KEPT) -> None:
        self.outline: dict[str, Tensor] = {}
        self._free, self._end = kept, 0
        self._starts: dict[str, int] = {}
        self._file: Any = None

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self._starts.pop(name, None)
        passing.count(tensor.numel() * tensor.element_size())
        whole, size = tensor.detach().cpu().contiguous(), tensor.numel() * tensor.element_size()
        if size <= self._free or not size:
            self._free -= size
            self.outline[name] = tensor
            return
        try:
            self._starts[name] = self._written(whole)
        except OSError as error:
            what = say("The numbers that wait to be saved cannot be written: {reason}", reason=error)
            cure = say("Make room on the disk of temporary files.")
            raise FileError(what, where=tempfile.gettempdir(), cure=cure) from error
        self.outline[name] = torch.empty(whole.shape, dtype=whole.dtype, device="meta")

    def _written(self, whole: Tensor) -> int:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="lora-atelier-")  # noqa: SIM115  # closed with the last reference
        flat = whole.as_strided((whole.numel(),), (1,))  # a single number counts as contiguous with any stride
        start = self._end
        self._file.seek(start)
        self._end += self._file.write(memoryview(flat.view(torch.uint8).numpy()))
        return start

    def __getitem__(self, name: str) -> Tensor:
        found = self.outline[name]
        if name not in self._starts:
            return found
        data = bytearray(found.numel() * found.element_size())
        passing.count(len(data))
        self._file.seek(self._starts[name])
        if self._file.readinto(data) != len(data):
            cure = say("Check the disk.")
            what = say("The numbers that wait to be saved cannot be read back")
            raise FileError(what, where=tempfile.gettempdir(), cure=cure)
        return torch.frombuffer(data, dtype=torch.uint8).view(found.dtype).reshape(found.shape)

    def __delitem__(self, name: str) -> None:
        del self.outline[name]
        self._starts.pop(name, None)


class Scratch(Outlined, MutableMapping[str, Adapter]):
    """New adapters, whose numbers lie in a `TensorScratch`."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self.outline: dict[str, Adapter] = {}
        self._tensors = TensorScratch(kept=kept)

    def __setitem__(self, key: str, adapter: Adapter) -> None:
        names = self._names(key, adapter)
        self._tensors.update(zip(names, adapter.parameters(), strict=True))
        kept = not any(self._tensors.outline[name].is_meta for name in names)
        self.outline[key] = adapter if kept else adapter.to(device="meta")

    @staticmethod
    def _names(key: str, adapter: Adapter) -> list[str]:
        return [f"{number} {key}" for number in range(len(adapter.parameters()))]

    def __getitem__(self, key: str) -> Adapter:
        found = self.outline[key]
        if not any(tensor.is_meta for tensor in found.parameters()):
            return found
        return found.with_parameters([self._tensors[name] for name in self._names(key, found)])

    def __delitem__(self, key: str) -> None:
        for name in self._names(key, self.outline.pop(key)):
            del self._tensors[name]


class PartTensors(Outlined, Mapping[str, Tensor]):
    """The tensors of adapters under ``key.part``, and others, read when they are asked for.

    Args:
        adapters: in memory or on the disk.
        others: further tensors by name.
    """

    def __init__(self, adapters: Mapping[str, Adapter], others: Mapping[str, Tensor]) -> None:
        self._adapters = adapters
        self.outline = dict(others)
        self._place: dict[str, tuple[str, str]] = {}
        for key, adapter in outline_of(adapters).items():
            for part, tensor in adapter.tensors().items():
                self.outline[f"{key}.{part}"] = tensor
                self._place[f"{key}.{part}"] = key, part
        self._last: tuple[str, dict[str, Tensor]] = "", {}

    def __getitem__(self, name: str) -> Tensor:
        found = self.outline[name]
        if not found.is_meta:
            return found
        key, part = self._place[name]
        if self._last[0] != key:  # a module's tensors are asked for one after the other
            self._last = key, self._adapters[key].tensors()
        return self._last[1][part]


class SomeTensors(Outlined, Mapping[str, Tensor]):
    """Some of a file's tensors, read when they are asked for where the file's are."""

    def __init__(self, tensors: Mapping[str, Tensor], names: Iterable[str]) -> None:
        like = getattr(tensors, "outline", tensors)
        self._tensors, self.outline = tensors, {name: like[name] for name in names}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.outline:
            raise KeyError(name)
        return self._tensors[name]

"""The LoRA files of a host: looked up by name without reading its folders each time, and kept once they were read."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from lib_lora.errors import FileError
from lib_lora.formats.lora import LoraFile, read_lora
from lib_lora.walk import walk

SETTLED = 2.0
"""Seconds after which a folder's time can be believed: within one tick of a disk's clock two changes look like one."""

_Key = tuple[str, int, int]


@dataclass(frozen=True)
class _Reading:
    folders: tuple[Path, ...]
    files: Mapping[str, Path]
    times: Mapping[Path, int]
    read_at: float


class LoraIndex:
    """Looks names up without reading thousands of directory entries for each.

    A file that comes, goes or is renamed changes the time of its folder; that of every folder is looked at each time.
    """

    def __init__(self) -> None:
        self._reading: _Reading | None = None
        self._lock = threading.Lock()

    def files(self, folders: Sequence[Path], read: Callable[[], dict[str, Path]]) -> Mapping[str, Path]:
        """Return the files by name.

        Args:
            folders: where they lie, at any depth.
            read: reads them from the disk.
        """
        with self._lock:
            known = self._reading
            if known is not None and known.folders == tuple(folders) and _holds(known):
                return known.files
            now = time.time()
            times = {each.folder: _time(each.folder) for root in folders for each in walk(root)}
            times |= {root: _time(root) for root in folders}
            files = read()
            self._reading = _Reading(tuple(folders), MappingProxyType(files), times, now)
            return self._reading.files

    def clear(self) -> None:
        """Forget what was read."""
        self._reading = None


def _holds(known: _Reading) -> bool:
    """Whether no folder changed since it was read, nor so shortly before that its time could not tell."""
    newest = max(known.times.values(), default=0) / 1e9
    return known.read_at - newest > SETTLED and all(_time(folder) == then for folder, then in known.times.items())


def _time(folder: Path) -> int:
    """Return when a folder changed last, in nanoseconds; 0 where it cannot be looked at."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


class LoraCache:
    """Keeps the newest files in main memory; a file that changed on the disk (size or time) is read anew.

    Args:
        files: most files kept.
        limit: most bytes kept; a single larger file is read and handed on, but not kept.
    """

    def __init__(self, *, files: int = 8, limit: int = 2**30) -> None:
        self._files, self._limit = files, limit
        self._kept: OrderedDict[_Key, LoraFile] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path) -> LoraFile:
        """Return the LoRA file at ``path``; its tensors are shared with other readers and must not be written to.

        Raises:
            FileError: as `read_lora`.
        """
        key = _key(path)
        with self._lock:
            lora = self._kept.get(key)
            if lora is not None:
                self._kept.move_to_end(key)
        if lora is None:
            lora = read_lora(path)
            self._keep(key, lora)
        return replace(lora, adapters=dict(lora.adapters), metadata=dict(lora.metadata), extras=dict(lora.extras))

    def _keep(self, key: _Key, lora: LoraFile) -> None:
        if key[1] > self._limit:
            return
        with self._lock:
            for old in [old for old in self._kept if old[0] == key[0]]:
                del self._kept[old]
            self._kept[key] = lora
            while len(self._kept) > self._files or sum(size for _, size, _ in self._kept) > self._limit:
                self._kept.popitem(last=False)


def _key(path: Path) -> _Key:
    """Return what tells one content of a file from another: its place, size and time of change."""
    try:
        status = path.stat()
    except OSError as error:
        raise FileError("The file cannot be read ({reason})", reason=error, where=str(path)) from error
    return str(path.resolve()), status.st_size, status.st_mtime_ns

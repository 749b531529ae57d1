"""The LoRA files of a host's folders by name, read again only where a folder may have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lib_lora.walk import walk

SETTLED = 2.0
"""Seconds after which a folder's time can be believed: within one tick of a disk's clock two changes look like one."""


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

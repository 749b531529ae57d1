"""The one way through folders: links are followed once, what no person put there is left out, nothing hangs.

Every search below a folder (pictures, captions, LoRA files) goes through here, so that all of them see the same.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM_NAMES = frozenset(
    # bins and service folders of Windows, Linux, macOS and of network drives (Synology, QNAP), then small service files
    ("$recycle.bin", "recycler", "recycled", "#recycle", "@recycle", "lost+found")
    + ("system volume information", "$windows.~bt", "__macosx", "network trash folder", "temporary items")
    + ("@eadir", "#snapshot", "@recently-snapshot", "@sharebin", "__pycache__")
    + ("thumbs", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
)

Failed = Callable[[Path, OSError], None]


@dataclass(frozen=True)
class Listing:
    """What one folder holds itself, each part sorted by name.

    Attributes:
        folder: which one.
        files: plain files, links to files among them.
        folders: folders, links to folders among them.
        odd: what is neither: broken links, pipes, devices, what lies too deep for the system to reach. Opening one may
            fail or wait for ever.
        left_out: hidden entries and those of the system.
    """

    folder: Path
    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    odd: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()


def is_left_out(name: str) -> bool:
    """Return whether an entry of this name is hidden, or the system's own and no person's."""
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def has_ending(path: Path, endings: Collection[str]) -> bool:
    """Return whether a file has one of the endings (lower case, with their dot), in whatever case it is written."""
    return path.suffix.lower() in endings


def list_folder(folder: Path) -> Listing:
    """Return what lies in a folder itself.

    Raises:
        OSError: the system does not let us read it.
    """
    kinds: dict[str, list[Path]] = {"files": [], "folders": [], "odd": [], "left_out": []}
    for path in sorted(folder / name for name in os.listdir(folder)):
        kinds["left_out" if is_left_out(path.name) else _kind(path)].append(path)
    return Listing(folder, **{kind: tuple(paths) for kind, paths in kinds.items()})


def walk(root: Path, *, failed: Failed | None = None) -> Iterator[Listing]:
    """Yield every folder at and below ``root``, each once, however many links lead to it or back.

    A folder is met under its own place before any link to it is followed. The root itself may be of any name.

    Args:
        root: where to begin; what is no folder yields nothing.
        failed: told of each folder that cannot be read; the walk goes on without it.
    """
    plain, linked = deque([root] if os.path.isdir(root) else ()), deque[Path]()
    seen: set[str] = set()
    while plain or linked:
        folder = plain.popleft() if plain else linked.popleft()
        place = os.path.realpath(folder)
        if place in seen:
            continue
        seen.add(place)
        try:
            listing = list_folder(folder)
        except OSError as error:
            if failed is not None:
                failed(folder, error)
            continue
        for inner in listing.folders:
            (linked if inner.is_symlink() else plain).append(inner)
        yield listing


def files_below(root: Path, endings: Collection[str]) -> list[Path]:
    """Return the files at and below ``root`` with one of the endings (lower case, with their dot), sorted by path."""
    return sorted(path for one in walk(root) for path in one.files if has_ending(path, endings))


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "odd"  # a broken or looping link, a name that is too long
    if stat.S_ISDIR(mode):
        return "folders"
    return "files" if stat.S_ISREG(mode) else "odd"

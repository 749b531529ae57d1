"""The host's own list of LoRA files: its names and aliases, and files that came after it looked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

from lib_lora.blocks.errors import suggest
from lib_lora.errors import InputError
from lib_lora.formats.names import ENDING
from lib_lora.host.lora_files import LoraIndex
from lib_lora.host.webui.protocols import Networks
from lib_lora.sentences import say

_INDEX = LoraIndex()
_EVERY = LoraIndex()
_ENDINGS = (ENDING, ".pt", ".ckpt")
"""What the host's loader takes for a LoRA; a name may be that of several."""
_ASKED: WeakKeyDictionary[Networks, Mapping[str, Path]] = WeakKeyDictionary()
"""The state of the folders at which a host was last asked to read them for a name that nobody knows."""


def host_networks() -> Networks | None:
    """Return the module of the host's Lora extension, or None where that extension is switched off."""
    # Its name is so general that another extension's module may stand there.
    module = sys.modules.get("networks")
    return module if hasattr(module, "available_network_aliases") else None


def lora_folders() -> tuple[Path, ...]:
    """Return the folders in which the host looks for LoRAs."""
    from modules import paths, shared

    options = shared.cmd_opts
    more = getattr(options, "lora_dirs", ())  # Forge Neo: any number of further ones
    given = (getattr(options, "lora_dir", None), *more, getattr(options, "lyco_dir_backcompat", None))
    return tuple(dict.fromkeys(Path(folder) for folder in given if folder)) or (Path(paths.models_path) / "Lora",)


def listed() -> Mapping[str, Path]:
    """Return every readable LoRA file by the name of its tag; files that the host has not seen are made known to it."""
    found = _files()
    networks = host_networks()
    if networks is None:
        return found
    new = [name for name in found if name not in networks.available_networks]
    if new:
        _make_known(networks, new)
    known = dict(networks.available_networks)
    return {name: Path(known[name].filename) if name in known else path for name, path in found.items()}


def find(name: str) -> Path:
    """Return the file that a tag's name means to the host: a file's stem, or an alias that only one file has.

    Raises:
        InputError: there is none; the message names near ones.
    """
    networks = host_networks()
    if networks is None:
        path = _files().get(name)
    else:
        path = _path_of(networks, name)
        if path is None and _may_have_come(networks, name):
            _make_known(networks, [name])
            path = _path_of(networks, name)
    if path is not None:
        return path
    folders = lora_folders()
    cure = suggest(name, listed()) or say("Put the file into this folder, or correct the name.")
    raise InputError("There is no LoRA called “{name}”", name=name, where=", ".join(map(str, folders)), cure=cure)


def namesakes(name: str) -> list[str]:
    """Return the note that is due where several files have a tag's name: the host can call only one of them."""
    try:
        taken = find(name)
    except InputError:
        return []
    files = _EVERY.files(lora_folders(), _every_in_folders).values()
    count = len({path.resolve() for path in files if path.stem == name} | {taken.resolve()})
    if taken.stem != name or count == 1:
        return []
    inner = next((taken.relative_to(root) for root in lora_folders() if taken.is_relative_to(root)), Path(taken.name))
    return [
        say(
            "{n} files are called {name}; {path} is taken. To use the others, rename them.",
            n=count,
            name=name,
            path=inner.as_posix(),
        )
    ]


def refresh() -> None:
    """Let the host read its folders again: a file came, went, or has another content."""
    _INDEX.clear()
    _EVERY.clear()
    networks = host_networks()
    if networks is not None:
        networks.list_available_networks()


def metadata_of(name: str) -> dict[str, str]:
    """Return what the host knows of a file's metadata, without reading the file."""
    networks = host_networks()
    entry = None if networks is None else networks.available_networks.get(name)
    return dict(getattr(entry, "metadata", None) or {})


def _may_have_come(networks: Networks, name: str) -> bool:
    """Whether a name that the host does not know may be that of a file that came since it last read its folders.

    The file's own name tells at once. An alias is inside the file, so the host is asked once for each state of the
    folders; else hundreds of wrong names in a prompt would have it read thousands of files for each.
    """
    files = _files()
    if name in files:
        return True
    if _ASKED.get(networks) is files:
        return False
    _ASKED[networks] = files
    return True


def _make_known(networks: Networks, names: Sequence[str]) -> None:
    """Let the host look for files that it has not listed yet."""
    update = getattr(networks, "update_available_networks_by_names", None)
    if update is not None:
        update(names)
    else:  # Forge classic reads all its folders, or none
        networks.list_available_networks()


def _path_of(networks: Networks, name: str) -> Path | None:
    """Return the file of a name by the host's own rule; an entry whose file is gone counts as none."""
    # An alias of several files says nothing: then only the file's own name counts.
    if name.lower() in networks.forbidden_network_aliases:
        entry = networks.available_networks.get(name)
    else:
        entry = networks.available_network_aliases.get(name)
    path = None if entry is None else Path(entry.filename)
    return path if path is not None and path.is_file() else None


def _files() -> Mapping[str, Path]:
    """Return the files by stem, read anew only where a folder may have changed."""
    return _INDEX.files(lora_folders(), _in_folders)


def _in_folders() -> dict[str, Path]:
    """Return the files by stem; of two with one name the later one counts, as for the host."""
    return {path.stem: path for path in _walked(ENDING)}


def _every_in_folders() -> dict[str, Path]:
    """Return each file that the host may take for a LoRA by its place."""
    return {str(path): path for path in _walked(*_ENDINGS)}


def _walked(*endings: str) -> Iterator[Path]:
    """Yield the files of the folders, in the host's order."""
    from modules import shared

    for folder in lora_folders():
        for name in shared.walk_files(str(folder), allowed_extensions=list(endings)) if folder.is_dir() else ():
            yield Path(name)

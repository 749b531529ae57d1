"""The preset file of the data folder: loaded at the start, saved with backups, extended by other extensions' files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.blocks.elements import ElementFile
from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

NAME = "lbwpresets.txt"
"""The name under which the extension that came before keeps its presets, so that files can be exchanged."""


def presets_path(atelier: Atelier) -> Path:
    """Return where this studio's presets lie."""
    return atelier.folders.data / NAME


def load_presets(atelier: Atelier) -> None:
    """Let the host use the presets of the data folder, and the element presets beside them, where there are some.

    Raises:
        FileError: the file cannot be read.
    """
    path, host = presets_path(atelier), atelier.host
    known = PresetFile.load(path) if path.is_file() else host.presets
    host.presets = replace(known, elements=ElementFile.beside(path))


def save_presets(atelier: Atelier, text: str) -> PresetFile:
    """Save a preset text, the file before it becomes a backup, and let the host use it.

    Raises:
        InputError: a line is broken or nothing is left; nothing was written.
        FileError: the disk refuses.
    """
    presets = PresetFile.parse(text)
    presets.save(presets_path(atelier))
    atelier.host.presets = replace(presets, elements=atelier.host.presets.elements)
    return presets


def save_preset(atelier: Atelier, name: str, values: str, *, replace: bool) -> None:
    """Save one vector under a name.

    Raises:
        InputError: no name, a name that cannot be one, or one that is taken.
    """
    name, presets = name.strip(), atelier.host.presets
    if not name:
        raise InputError("The preset has no name", cure="Write one.")
    new = presets.with_preset(name, values)
    if presets.has(name) and not replace:
        cure = say("Choose another name, or say that it may be replaced.")
        raise InputError("There is a preset of this name already", where=name, cure=cure)
    save_presets(atelier, new.text)


def with_imported(text: str, other: str) -> tuple[str, int, int]:
    """Return ``text`` with the presets of ``other`` that it lacks (by name and family), how many, and how many not."""
    mine, theirs = PresetFile.parse(text), PresetFile.parse(other)
    have = _kinds(mine)
    lines = other.splitlines()
    new = [lines[preset.line - 1] for preset in theirs.presets if (preset.name, preset.layout.family) not in have]
    joined = "\n".join([text.rstrip("\n"), *new]) + "\n"
    return joined, len(new), len(theirs.presets) - len(new)


def with_later(text: str, base: str, current: str) -> str:
    """Return ``text``, an edited ``base``, with what came into the file meanwhile (``current``) from elsewhere."""
    later = PresetFile.parse(current)
    known = _kinds(PresetFile.parse(base)) | _kinds(PresetFile.parse(text))
    lines = current.splitlines()
    new = [lines[one.line - 1] for one in later.presets if (one.name, one.layout.family) not in known]
    return "\n".join([text.rstrip("\n"), *new]) + "\n" if new else text


def _kinds(presets: PresetFile) -> set[tuple[str, str]]:
    return {(preset.name, preset.layout.family) for preset in presets.presets}

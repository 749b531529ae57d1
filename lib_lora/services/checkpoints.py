"""Checkpoints by name: what lies in the host's folder of models, and beside the model that is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.atomic import make_folder
from lib_lora.blocks.near import near_names
from lib_lora.errors import InputError
from lib_lora.formats.names import ENDING, file_stem
from lib_lora.sentences import say
from lib_lora.walk import files_below, has_ending, list_folder

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier


def listed(atelier: Atelier) -> dict[str, Path]:
    """Return the checkpoints that can be chosen by their names: the path below the folder, without the ending."""
    folder = atelier.folders.checkpoints
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in files_below(folder, {ENDING})
        if path.is_relative_to(folder)
    }
    known = {path.resolve() for path in (*found.values(), *atelier.host.list_loras().values())}
    for path in _beside_the_loaded_one(atelier):
        if path.resolve() not in known:
            found.setdefault(path.stem, path)
    return dict(sorted(found.items(), key=lambda item: item[0].casefold()))


def _beside_the_loaded_one(atelier: Atelier) -> tuple[Path, ...]:
    loaded: Path | None = getattr(atelier.host.model, "path", None)
    if loaded is None or not loaded.is_file():
        return ()
    try:
        return tuple(path for path in list_folder(loaded.parent).files if has_ending(path, {ENDING}))
    except OSError:  # a folder that may be entered and not be listed: the model itself is there
        return (loaded,)


def file_of(atelier: Atelier, name: str | None) -> Path:
    """Return the file behind a name of the list; nobody gives a path.

    Raises:
        InputError: nothing is chosen, or there is none of this name.
    """
    if not name:
        raise InputError("No checkpoint is chosen", cure="Choose one from the list.")
    found = listed(atelier)
    if name in found:
        return found[name]
    near = near_names(name, found)
    cure = (
        say("Did you mean: {names}?", names=near)
        if near
        else say("Put it into {folder}.", folder=atelier.folders.checkpoints)
    )
    raise InputError("There is no checkpoint of this name", where=name[:200], cure=cure)


def new_file(atelier: Atelier, name: str) -> Path:
    """Return where a new checkpoint is written; its folder is made.

    Raises:
        InputError: some system could not take the name. FileError: the folder cannot be made.
    """
    return make_folder(atelier.folders.checkpoints) / f"{file_stem(name)}{ENDING}"

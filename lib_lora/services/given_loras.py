"""LoRA files that a training's options name: where they lie, and whether the server may read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.train.options.network import split_strength

if TYPE_CHECKING:
    from lib_lora.services.atelier import Folders


def allowed_loras(values: Mapping[str, Any], folders: Folders) -> dict[str, Any]:
    """Return the options that name LoRA files, with whole paths; a relative one is meant under the folder of LoRAs.

    Raises:
        InputError: the server listens to others and a path leaves the folders that it may show.
    """

    def place(text: str, where: str) -> Path:
        under = folders.loras / text
        return folders.allowed(under if not Path(text).is_absolute() and under.is_file() else text, where=where)

    found: dict[str, Any] = {}
    begun, under = values.get("continue_from"), values.get("base_loras")
    if isinstance(begun, str) and begun:
        found["continue_from"] = str(place(begun, "continue_from"))
    if isinstance(under, list | tuple) and all(isinstance(one, str) for one in under):
        given = map(split_strength, under)
        found["base_loras"] = [f"{place(path, 'base_loras')}:{strength!r}" for path, strength in given]
    return found

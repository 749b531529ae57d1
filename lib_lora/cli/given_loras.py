"""LoRAs as they are typed into a terminal: ``FILE``, ``FILE:0.8``, ``FILE:0.8:FACE``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.errors import FileError
from lib_lora.options import find
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.merge.spec import Ingredient

FORM = "LORA[:STRENGTH[:BLOCKS]]"


def ingredient(text: str) -> Ingredient:
    """Return the row that a text means; the longest beginning that names a file is the file.

    So a name may hold colons, and a drive its letter.

    Raises:
        FileError: there is no such file; InputError: a number cannot be right.
    """
    from lib_lora.merge.spec import Ingredient

    parts = text.split(":")
    for count in range(len(parts), 0, -1):
        path = Path(":".join(parts[:count]))
        if path.is_file():
            strength, _, blocks = ":".join(parts[count:]).partition(":")
            typed = {"strength": strength.strip(), "blocks": blocks.strip()}
            given = {name: find(Ingredient, name).parse(value) for name, value in typed.items() if value}
            return Ingredient(path, **given)
    cure = say("Write FILE, FILE:0.8 or FILE:0.8:FACE.")
    raise FileError("There is no such file", where=text, cure=cure)

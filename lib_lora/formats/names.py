"""Names that people give to files: checked so that they work on every system and in a LoRA tag."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from lib_lora.errors import InputError

ENDING = ".safetensors"
_FORBIDDEN = '/\\:*?"<>|='
_BYTES = 200
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def is_usable(name: str) -> bool:
    """Whether every system and a LoRA tag take a name as it stands, and folders show it."""
    return (
        name == name.strip() != ""
        and not _forbidden(name)
        and name[0] != "."
        and name[-1] != "."
        and not _RESERVED.fullmatch(name)
        and len(name.encode("utf-8", "surrogatepass")) <= _BYTES
    )


def _forbidden(name: str) -> list[str]:
    return [char for char in name if char in _FORBIDDEN or unicodedata.category(char).startswith("C")]


def file_stem(text: str) -> str:
    """Return a file name that a person typed, without folder and ``.safetensors``.

    Raises:
        InputError: it is empty, too long, leads out of the folder, or some system or a LoRA tag could not take it.
    """
    name = unicodedata.normalize("NFC", text.strip())
    name = name[: -len(ENDING)] if name.lower().endswith(ENDING) else name
    if not name:
        raise InputError("The file has no name yet", where="name", cure="Type one.")
    bad = _forbidden(name)
    if bad:
        shown = " ".join(dict.fromkeys(char if char.isprintable() else repr(char) for char in bad))
        raise InputError(
            "A file name cannot contain {characters}",
            characters=shown,
            where=name,
            cure="Use letters, digits, _ - and dots.",
        )
    if len(name.encode("utf-8")) > _BYTES:
        raise InputError("The file name is too long", where=f"{name[:40]}…", cure="Shorten it.")
    if not is_usable(name):
        raise InputError("Not every system takes this file name", where=name, cure="Choose another name.")
    return name


def proposed_stem(parts: Collection[str], *, taken: Collection[str] = ()) -> str:
    """Return a usable file name made of ``parts``, with a number behind it where it is taken (in any case)."""
    text = "_".join(part for part in parts if part)
    text = "".join("_" if char in _FORBIDDEN or unicodedata.category(char).startswith("C") else char for char in text)
    text = re.sub(r"[\s,]+", "_", text).strip("._ ") or "lora"
    while len(text.encode("utf-8")) > _BYTES - 8:
        text = text[:-1]
    text = text.rstrip("._ ") or "lora"
    text = f"{text}_lora" if _RESERVED.fullmatch(text) else text
    used = {unicodedata.normalize("NFC", name).casefold() for name in taken}
    stem, number = text, 1
    while stem.casefold() in used:
        number += 1
        stem = f"{text}_{number}"
    return stem

"""Finding LoRA files by what they say about themselves; only headers are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lib_lora.errors import AtelierError
from lib_lora.formats.card import ENTRIES, read_card
from lib_lora.formats.header import read_header
from lib_lora.formats.metadata import describe


def find_files(files: Mapping[str, Path], text: str) -> tuple[list[str], list[str]]:
    """Return the names whose file has every word of ``text`` in name, fields, card or caption tags, and broken ones.

    Upper and lower case are the same. An empty text finds all and opens none.
    """
    words = text.casefold().split()
    ordered = sorted(files, key=str.casefold)
    if not words:
        return ordered, []
    found, broken = [], []
    for name in ordered:
        if all(word in name.casefold() for word in words):
            found.append(name)
            continue
        try:
            said = _said(files[name])
        except AtelierError:
            broken.append(name)
            continue
        if all(word in said or word in name.casefold() for word in words):
            found.append(name)
    return found, broken


def _said(path: Path) -> str:
    described = describe(read_header(path).metadata, tag_count=500)
    card = read_card(path)
    parts = [*described.fields.values(), *described.facts.values(), *(tag for tag, _ in described.tags)]
    parts += [card.text(name) for name in ENTRIES]
    return "\n".join(parts).casefold()

"""The WebUI's own card of a LoRA, the ``NAME.json`` beside its file: read without trust, written without loss.

A1111 and Forge show and edit it (description, sd version, activation text, preferred weight, notes), and other programs
keep entries of their own in it, which stay. A digest of each text that card and file last agreed on stands in it as
well, so that it can be told which of them somebody changed since.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lib_lora.atomic import back_up, cure_of, replace_file
from lib_lora.blocks.tokens import format_number, read_number
from lib_lora.errors import FileError
from lib_lora.formats.metadata import FIELD_LIMIT
from lib_lora.sentences import Sentence, say

WEIGHT, VERSION = "preferred weight", "sd version"
ENTRIES: Mapping[str, str] = MappingProxyType(
    {
        "trigger_words": "activation text",
        "preferred_weight": WEIGHT,
        "description": "description",
        "notes": "notes",
    }
)
"""The user's fields that the card has as well -> its entries."""
AGREED = "lora atelier"
"""Our own entry: digests of what card and file last agreed on."""
OF_THE_FILE = ("sha256", "hashes", "autov2")
"""Entries of other programs that say the hash of the whole file, which is another one once its metadata changes."""
_LIMIT = 8 * 2**20


@dataclass(frozen=True)
class Card:
    """A card as it lies on the disk.

    Attributes:
        path: where it is, or would be.
        content: all its entries; none where it is not there or cannot be read.
        exists: whether it is there.
        problem: why it cannot be read; such a card is never written over.
        odd: entries of ours that hold no text (or no number), which count as not there and stay as they are.
    """

    path: Path
    content: Mapping[str, Any] = field(default_factory=dict)
    exists: bool = False
    problem: Sentence | None = None
    odd: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """Return what it says for one of the user's fields, "" for nothing."""
        found = _text(ENTRIES[name], self.content.get(ENTRIES[name]))
        return "" if found is None else found

    def agreed(self, name: str) -> str | None:
        """Return the digest of the text that card and file last agreed on; None where nobody knows."""
        known = self.content.get(AGREED)
        found = known.get(ENTRIES[name]) if isinstance(known, dict) else None
        return found if isinstance(found, str) else None


def card_path(path: Path) -> Path:
    """Return where the card of a LoRA file lies."""
    return path.with_suffix(".json")


def read_card(path: Path) -> Card:
    """Return the card of a LoRA file; whatever is wrong with it is said in it, never raised."""
    place = card_path(path)
    try:
        if not place.is_file():
            return Card(place)
        if place.stat().st_size > _LIMIT:
            return Card(place, exists=True, problem=say("it is larger than {n} MB", n=_LIMIT >> 20))
        content = json.loads(place.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        return Card(place, exists=True, problem=say("it cannot be read ({reason})", reason=error))
    except (ValueError, RecursionError):
        return Card(place, exists=True, problem=say("it is no JSON"))
    if not isinstance(content, dict):
        return Card(place, exists=True, problem=say("it is no table"))
    odd = tuple(entry for entry in ENTRIES.values() if entry in content and _text(entry, content[entry]) is None)
    return Card(place, content, exists=True, odd=odd)


def _text(entry: str, value: Any) -> str | None:
    """Return an entry as a field holds it; None where it is none that a file could hold."""
    if value is None:
        return ""
    if entry == WEIGHT:
        if isinstance(value, str):
            value = read_number(value.strip()) if value.strip() else 0
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e6 or math.isnan(value):
            return None
        return format_number(float(value)) if value else ""
    if not isinstance(value, str) or len(value) > FIELD_LIMIT:
        return None
    try:
        value.encode("utf-8")  # half a character could never be written
    except UnicodeError:
        return None
    return same_text(value)


def same_text(text: str) -> str:
    """Return a text as both sides compare it: without blanks around it, lines ended by a line feed."""
    return text.replace("\r\n", "\n").strip()


def digest(text: str) -> str:
    """Return a short digest of a text that card and file agree on."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def entry_of(name: str, text: str) -> Any:
    """Return a field's text as the card holds it; the weight is a number, 0 for none, as A1111 writes it."""
    if ENTRIES[name] != WEIGHT:
        return text
    number = read_number(text.strip()) if text.strip() else 0.0
    return number if number is not None and math.isfinite(number) else 0


def write_card(card: Card, content: Mapping[str, Any]) -> Path:
    """Write a card with a backup of what it was, as A1111 writes it.

    Raises:
        FileError: the disk refuses; the card is as it was.
    """
    data = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=True).encode("utf-8", "backslashreplace")
    if card.exists:
        try:
            back_up(card.path)
        except OSError as error:
            what = say("The backup cannot be made ({reason})", reason=error)
            raise FileError(what, where=str(card.path), cure=cure_of(error)) from error
    return replace_file(card.path, data, what=say("The card"))

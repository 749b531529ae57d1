"""What a person is told of a generation's tags: below the picture, in its infotext, and as a notice of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib_lora.blocks.errors import PositionError
from lib_lora.errors import AtelierError
from lib_lora.formats.privacy import without_folders

PROBLEMS = "LoRA problems"
"""Infotext key: REST answers have no comments, and a picture without one of its LoRAs should say so later too."""


def _nothing(text: str) -> None:
    """Show no notice."""


@dataclass(frozen=True)
class Voice:
    """How sentences reach a person; the plain one speaks English and shows no notices.

    Attributes:
        error: an error in the language of the page, as one text.
        note: a remark of the core in the language of the page.
        notice: shows a text in the page that made the order, if there is one.
    """

    error: Callable[[AtelierError], str] = str
    note: Callable[[str], str] = str
    notice: Callable[[str], None] = _nothing


def tell_error(p: Any, error: AtelierError, voice: Voice) -> None:
    """Put an error below the pictures of ``p``, into their infotext, and once into the page."""
    text = voice.error(error)
    if isinstance(error, PositionError) and error.text not in text:
        text = f"{error.text}: {text}"
    new = text not in (getattr(p, "comments", None) or ())  # every batch and every pass finds it again
    _tell(p, text)
    params = getattr(p, "extra_generation_params", None)
    if isinstance(params, dict):
        line = without_folders(text.split("\n", 1)[0])  # a picture is handed on; the page may tell folders
        known = str(params.get(PROBLEMS, ""))
        params[PROBLEMS] = line if not known else known if line in known else f"{known} {line}"
    if new:
        voice.notice(text)


def tell_note(p: Any, name: str, text: str, voice: Voice) -> None:
    """Put a note about the LoRA ``name`` ("": about all) below the pictures of ``p``."""
    _tell(p, f"{name}: {voice.note(text)}" if name else voice.note(text))


def forget(p: Any) -> None:
    """Take the problems out of the infotext: cells of the X/Y/Z plot share one dict of values."""
    params = getattr(p, "extra_generation_params", None)
    if isinstance(params, dict):
        params.pop(PROBLEMS, None)


def _tell(p: Any, text: str) -> None:
    """Add a comment; reForge and others have the method, older hosts only the list in the model's hijack."""
    if hasattr(p, "comment"):
        p.comment(text)

"""LoRA tags of a prompt: found and removed here; reading and resolving them is passed on from the files beside."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lib_lora.blocks.errors import TagError
from lib_lora.blocks.tag_model import Moment, ParsedTag, ResolvedTag, Span, Sweep, TagMatch
from lib_lora.blocks.tag_parse import parse_tag
from lib_lora.blocks.tag_resolve import format_tag, resolve

__all__ = [
    "Moment",
    "ParsedTag",
    "ResolvedTag",
    "Span",
    "Sweep",
    "TagError",
    "TagMatch",
    "find_tags",
    "format_tag",
    "parse_tag",
    "resolve",
    "strip_tags",
]

_OPENING = re.compile(r"<(?:lora|lyco):", re.IGNORECASE)


def find_tags(prompt: str) -> list[TagMatch]:
    """Return every `<lora:…>` and `<lyco:…>` of a prompt in order; a tag ends at the first `>`, as in the WebUI."""
    return list(_matches(prompt))


def strip_tags(prompt: str) -> str:
    """Return the prompt without its LoRA tags, every other character as it was."""
    kept: list[str] = []
    position = 0
    for match in _matches(prompt):
        kept.append(prompt[position : match.start])
        position = match.end
    return "".join(kept) + prompt[position:]


def _matches(prompt: str) -> Iterator[TagMatch]:
    position = 0
    while opening := _OPENING.search(prompt, position):
        closing = prompt.find(">", opening.end())
        if closing < 0:  # no later tag is closed either: one pass over the prompt is enough
            return
        position = closing + 1
        yield TagMatch(opening.start(), position, prompt[opening.start() : position])

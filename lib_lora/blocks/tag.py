"""LoRA tags of a prompt: found and removed here; reading and resolving them is passed on from the files beside."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lib_lora.blocks.errors import TagError
from lib_lora.blocks.tag_model import Moment, ParsedTag, ResolvedTag, Span, Sweep, TagMatch
from lib_lora.blocks.tag_parse import parse_tag
from lib_lora.blocks.tag_resolve import format_tag, resolve
from lib_lora.blocks.typed import half_width, without_comments, without_invisible

__all__ = [
    "Moment",
    "ParsedTag",
    "ResolvedTag",
    "Span",
    "Sweep",
    "TagError",
    "TagMatch",
    "broken_tags",
    "find_tags",
    "format_tag",
    "other_networks",
    "parse_tag",
    "readable_tags",
    "resolve",
    "strip_tags",
]

_OPENING = re.compile(r"<(?:lora|lyco):", re.IGNORECASE)
_MEANT = re.compile(r"<\s*(lora|lyco|loha|locon|lokr|dora)\s*[:;]", re.IGNORECASE)
_OTHER = re.compile(r"<(?!(?:lora|lyco):)(\w+):[^>]+>", re.IGNORECASE)
_SHOWN = 60  # characters of a broken tag that a message repeats


def find_tags(prompt: str) -> list[TagMatch]:
    """Return every `<lora:…>` and `<lyco:…>` of a prompt in order; a tag ends at the first `>`, as in the WebUI.

    What stands in a comment (`#`) is none.
    """
    return list(_matches(prompt))


def readable_tags(prompt: str) -> list[ParsedTag]:
    """Return the tags that are written correctly; what is wrong with the others is said where pictures are made."""
    tags = []
    for match in _matches(prompt):
        try:
            tags.append(parse_tag(match.text))
        except TagError:
            continue
    return tags


def strip_tags(prompt: str) -> str:
    """Return the prompt without its LoRA tags, every other character as it was."""
    kept: list[str] = []
    position = 0
    for match in _matches(prompt):
        kept.append(prompt[position : match.start])
        position = match.end
    return "".join(kept) + prompt[position:]


def broken_tags(prompt: str) -> list[TagError]:
    """Return what was meant as a LoRA tag and is none, neither here nor in the WebUI: it counts as words."""
    shown = without_comments(prompt)
    kept = [place for place, char in enumerate(shown) if without_invisible(char)]
    typed = half_width("".join(shown[place] for place in kept)).replace("〈", "<").replace("《", "<")
    found = {match.start for match in _matches(prompt)}
    errors = []
    for meant in _MEANT.finditer(typed):
        start = kept[meant.start()]
        if start in found:
            continue
        text = prompt[start:].split("\n", 1)[0][:_SHOWN]
        if not _OPENING.match(text):
            name = meant[1].lower()
            errors.append(_misspelt(text) if name in ("lora", "lyco") else _other_kind(text, name))
            continue
        wide = half_width(text).find(">")
        place = len(text) if wide < 0 else wide
        errors.append(TagError("The tag is not closed", text=text, position=place, cure="Write > at its end."))
    return errors


def other_networks(prompt: str) -> list[TagMatch]:
    """Return the tags of other kinds of networks, like ``<hypernet:…>``; the WebUI takes them out of the text too."""
    return [TagMatch(m.start(), m.end(), m.group()) for m in _OTHER.finditer(without_comments(prompt))]


def _misspelt(text: str) -> TagError:
    right = "<lora:"
    place = next((n for n, (typed, wanted) in enumerate(zip(text.lower(), right, strict=False)) if typed != wanted), 0)
    cure = "Write <lora: in half-width signs, without spaces."
    return TagError("This is meant as a LoRA tag, and is none", text=text, position=place, cure=cure)


def _other_kind(text: str, name: str) -> TagError:
    cure = "Write <lora:NAME:1>; it reads a file of any kind."
    return TagError(f"There is no tag <{name}:", text=text, position=1, cure=cure)


def _matches(prompt: str) -> Iterator[TagMatch]:
    position, shown = 0, without_comments(prompt)
    while opening := _OPENING.search(shown, position):
        closing = shown.find(">", opening.end())
        if closing < 0:  # no later tag is closed either: one pass over the prompt is enough
            return
        position = closing + 1
        yield TagMatch(opening.start(), position, prompt[opening.start() : position])

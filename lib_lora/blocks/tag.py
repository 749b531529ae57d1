"""LoRA tags of a prompt: found and removed here; reading and resolving them is passed on from the files beside."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lib_lora.blocks.errors import TagError
from lib_lora.blocks.tag_model import Moment, ParsedTag, ResolvedTag, Span, Sweep, TagMatch
from lib_lora.blocks.tag_parse import parse_tag
from lib_lora.blocks.tag_resolve import format_tag, resolve
from lib_lora.blocks.typed import half_width, without_comments, without_invisible
from lib_lora.sentences import say

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
    "meant_as_tag",
    "other_networks",
    "parse_tag",
    "readable_tags",
    "resolve",
    "strip_tags",
]

_OPENING = re.compile(r"<(?:lora|lyco):", re.IGNORECASE)
_MEANT = re.compile(
    r"(?:<|&lt;)\s*(?P<kind>lora|lyco|loha|locon|lokr|dora)\s*[:;]"
    r"|(?:<|&lt;)\s*(?:lora|lyco)(?:\s*[,=]|\s+\w)"
    r"|(?<!\w)(?:lora|lyco):(?=[^:<>\n]{1,200}:\s*[-+.]?\d|[^<>\n]{1,200}>)",
    re.IGNORECASE,
)
"""What begins like a tag; without its bracket it needs a strength or an end to be meant as one."""
_OTHER = re.compile(r"<(?!(?:lora|lyco):)(\w+):[^>]+>", re.IGNORECASE)
_ANGLES = str.maketrans("〈《‹«〉》›»", "<<<<>>>>")
_NO_COMMENT = say("Leave # out; where the file's own name has it, rename the file.")
_SHOWN = 60  # characters of a broken tag that a message repeats


def find_tags(prompt: str) -> list[TagMatch]:
    """Return every `<lora:…>` and `<lyco:…>` of a prompt in order; a tag ends at the first `>`, as in the WebUI.

    What stands in a comment (`#`) is none. A tag that is not closed before the next one ends there, without its `>`:
    the WebUI takes both out of the words as one, so neither are its words read here.
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


def strip_tags(prompt: str, *, others: bool = False) -> str:
    """Return the prompt without its LoRA tags (with ``others`` those of any network), other characters as they were."""
    kept: list[str] = []
    position = 0
    found = [*_matches(prompt), *(other_networks(prompt) if others else ())]
    for match in sorted(found, key=lambda one: one.start):
        kept.append(prompt[position : match.start])
        position = max(position, match.end)
    return "".join(kept) + prompt[position:]


def broken_tags(prompt: str) -> list[TagError]:
    """Return what was meant as a LoRA tag and is none, neither here nor in the WebUI."""
    shown = without_comments(prompt)
    kept = [place for place, char in enumerate(shown) if without_invisible(char)]
    typed = _typed("".join(shown[place] for place in kept))
    ours, others = list(_matches(prompt)), other_networks(prompt)
    found = {match.start for match in ours}
    taken = {match.start for match in others}
    inside = {place for match in (*ours, *others) for place in range(match.start + 1, match.end)}
    errors = []
    for meant in _MEANT.finditer(typed):
        start = kept[meant.start()]
        if start in found or start in inside:
            continue
        text = prompt[start:].split("\n", 1)[0][:_SHOWN]
        if not _OPENING.match(text):
            errors.append(_not_ours(text, (meant["kind"] or "lora").lower(), is_words=start not in taken))
            continue
        wide = _typed(text).find(">")
        comment = text.find("#")
        if 0 <= comment < (wide if wide >= 0 else len(text)):
            what = say("A comment (#) begins inside of the tag, so it is not closed")
            errors.append(TagError(what, text=text, position=comment, cure=_NO_COMMENT))
            continue
        place = len(text) if wide < 0 else wide
        what = say("The tag is not closed, so it is read as words")
        errors.append(TagError(what, text=text, position=place, cure="Write > at its end."))
    return errors


def meant_as_tag(text: str) -> bool:
    """Tell whether a text begins like a LoRA tag, rightly written or not."""
    return _MEANT.match(_typed(without_invisible(text))) is not None


def other_networks(prompt: str) -> list[TagMatch]:
    """Return the tags of other kinds of networks, like ``<hypernet:…>``; the WebUI takes them out of the text too."""
    return [TagMatch(m.start(), m.end(), m.group()) for m in _OTHER.finditer(without_comments(prompt))]


def _typed(text: str) -> str:
    return half_width(text).translate(_ANGLES)


def _not_ours(text: str, name: str, *, is_words: bool) -> TagError:
    """Return what is wrong with a tag that begins neither as ours nor as the WebUI's."""
    if name not in ("lora", "lyco"):
        read = say("There is no tag <{kind}:, so this is read as words", kind=name)
        what = read if is_words else say("There is no tag <{kind}:, so this was left out", kind=name)
        return TagError(what, text=text, position=1, cure="Write <lora:NAME:1>; it reads a file of any kind.")
    right = f"<{name}:"
    place = next((n for n, (typed, wanted) in enumerate(zip(text.lower(), right, strict=False)) if typed != wanted), 0)
    read = say("This is meant as a LoRA tag, but is read as words")
    what = read if is_words else say("This is meant as a LoRA tag, but was left out")
    return TagError(what, text=text, position=place, cure="Write <lora: in half-width signs, without spaces.")


def _matches(prompt: str) -> Iterator[TagMatch]:
    position, shown = 0, without_comments(prompt)
    while opening := _OPENING.search(shown, position):
        closing = shown.find(">", opening.end())
        if closing < 0:  # no later tag is closed either: one pass over the prompt is enough
            return
        following = _OPENING.search(shown, opening.end(), closing)
        position = following.start() if following else closing + 1
        yield TagMatch(opening.start(), position, prompt[opening.start() : position])

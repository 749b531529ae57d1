"""Changing a tag inside a prompt while everything that a person wrote around and inside it stays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from lib_lora.blocks.errors import TagError
from lib_lora.blocks.tag import find_tags, parse_tag
from lib_lora.blocks.tag_model import ParsedTag, Span, spell
from lib_lora.blocks.tag_parse import HIRES
from lib_lora.blocks.tokens import format_number
from lib_lora.errors import InputError
from lib_lora.sentences import say

Change = Callable[[ParsedTag], ParsedTag]


def write_tag(tag: ParsedTag) -> str:
    """Return the tag as text: names stay names, and what it says of the hires pass stays as it is, at the end."""
    hires = [item.strip() for item in tag.text[1:-1].split(":") if item.partition("=")[0].strip().lower() in HIRES]
    named = {
        "dyn": None if tag.dyn is None else str(tag.dyn),
        "lbw": None if tag.weights is None else tag.weights.text,
        "lbwe": None if tag.elements is None else tag.elements.text,
        "x": None if tag.x is None else format_number(tag.x),
        "start": None if tag.start is None else tag.start.format(),
        "stop": None if tag.stop is None else tag.stop.format(),
        "other": None if tag.other is None else format_number(tag.other),
    }
    return spell(tag.name, tag.strengths, named, hires)


def change_tag(prompt: str, index: int, change: Change) -> str:
    """Return ``prompt`` with its tag number ``index`` rewritten; a change that changes nothing keeps the spelling.

    Raises:
        InputError: there is no such tag.
        TagError: the tag cannot be read.
    """
    found = find_tags(prompt)
    if not 0 <= index < len(found):
        raise InputError("This LoRA is no longer in the prompt", where=say("prompt"), cure="Choose one that is.")
    match = found[index]
    before = parse_tag(match.text)
    after = change(before)
    if after == before:
        return prompt
    return prompt[: match.start] + write_tag(after) + prompt[match.end :]


def with_weights(text: str) -> Change:
    """Return the change that gives a tag these block weights, a name or a vector; an empty text takes them away."""
    span = Span(text.strip(), 0) if text.strip() else None
    return lambda tag: tag if _text(tag.weights) == _text(span) else replace(tag, weights=span)


def without_block_weights(prompt: str) -> str:
    """Return ``prompt`` with every LoRA at its plain strength: no weights, no elements; steps stay.

    A tag that cannot be read stays as it is: what is wrong with it is said where pictures are made.
    """
    for index in range(len(find_tags(prompt))):
        with contextlib.suppress(TagError):
            prompt = change_tag(
                prompt, index, lambda tag: replace(tag, weights=None, elements=None, x=None, other=None)
            )
    return prompt


def put_tag(prompt: str, text: str) -> str:
    """Return ``prompt`` with ``text`` (a tag, with words before it or none) in it.

    A tag of the same LoRA gives its place to the new one; else the text goes to the end, without words that the prompt
    already has. A text without a tag is put at the end as it is.
    """
    given = find_tags(text)
    if not given:
        return f"{prompt.rstrip()} {text}".strip()
    name = _name(given[0].text)
    for match in find_tags(prompt):
        if name and _name(match.text) == name:
            return prompt[: match.start] + given[0].text + prompt[match.end :]
    words = text[: given[0].start].strip(" ,")
    if words and words not in {part.strip() for part in prompt.split(",")}:
        start = f"{prompt.rstrip(' ,')}, " if prompt.strip() else ""
        return f"{start}{words} {given[0].text}"
    return f"{prompt.rstrip()} {given[0].text}".strip()


def _name(text: str) -> str:
    """Return the name in a tag, "" where it cannot be read."""
    try:
        return parse_tag(text).name
    except TagError:
        return ""


def _text(span: Span | None) -> str:
    return span.text if span else ""

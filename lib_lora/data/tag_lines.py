"""A caption's tags, line by line: what separates them, which line is trained, and changes that keep the other lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lib_lora.blocks.typed import without_invisible
from lib_lora.options import control_characters
from lib_lora.sentences import say

_COMMAS = re.compile(r"\s*[，、､]\s*")
"""Commas of Japanese and Chinese keyboards: full width, ideographic, half-width ideographic."""
_NETWORK_TAG = re.compile(r"<\w+:[^<>]*>")
_BACKSLASH = re.compile(r"\\(?=[()\[\]])")
_ASCII = str.maketrans("（）［］｛｝：｜", "()[]{}:|")
"""Brackets and marks of Japanese and Chinese keyboards, which people write for those of prompts."""
_WEIGHT = re.compile(r"(?<!\\)\(([^()]+):\s*[\d.．]+\s*\)")
_CHOICE = re.compile(r"(?<!\{)\{[^{}]*\|[^{}]*\}(?!\})")
_DYNAMIC = re.compile(r"(?<!\w)__[\w/*-]+?__(?!\w)|\{[^{}]*(?:\$\$|\d::)")
_EDIT = re.compile(r"(?<!\\)\[[^\[\]]*[:|][^\[\]]*\]")
_EMPHASIS = re.compile(r"(?<!\\)\(\([^()]+\)\)|(?<!\\)\[[^\[\]:|]*\w[^\[\]:|]*\]")
_WORDS = re.compile(r"(?<!\S)(BREAK|AND)(?!\S)")


def plain_commas(text: str) -> str:
    """Return a line with commas of every width as ``, `` and ideographic blanks as plain ones."""
    return _COMMAS.sub(", ", text).replace("\u3000", " ")


def split_tags(text: str, separator: str = ",") -> list[str]:
    """Split a line into its tags, trimmed, without empty ones; commas of every width separate."""
    parts = plain_commas(text).split(",") if separator == "," else text.split(separator)
    return [tag for tag in (part.strip() for part in parts) if tag]


def strip_network_tags(text: str) -> tuple[str, tuple[str, ...]]:
    """Remove `<lora:…>` and its kin; return the rest (no stray commas) and what was removed."""
    found = tuple(_NETWORK_TAG.findall(text))
    if not found:
        return text, ()
    lines = (", ".join(split_tags(_NETWORK_TAG.sub(" ", line))) for line in text.split("\n"))
    return "\n".join(lines).strip(), found


def lines_of(text: str) -> list[str]:
    """Return the lines that say something, trimmed."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def trained_line(text: str) -> str:
    """Return the line that training reads: the first that says something besides network tags; "" where none does."""
    return next((line for line in lines_of(text) if _says_something(line)), "")


def plain_tag(tag: str) -> str:
    """Return a tag without the backslashes that keep its brackets from weighing it: both spellings are one tag."""
    return _BACKSLASH.sub("", tag)


def with_tag(text: str, tag: str, *, first: bool = False) -> str:
    """Return a caption with one or several tags more in the line that is trained; those that it has are not doubled."""
    lines = lines_of(text) or [""]
    trained = next((at for at, line in enumerate(lines) if _says_something(line)), 0)
    tags = split_tags(lines[trained])
    has = set(map(plain_tag, tags))
    new = [one for one in split_tags(tag) if plain_tag(one) not in has]
    if not new:
        return text
    lines[trained] = ", ".join([*new, *tags] if first else [*tags, *new])
    return "\n".join(lines)


def without_tag(text: str, tag: str) -> str:
    """Return a caption without one or several tags, whichever line they stand in."""
    gone = set(map(plain_tag, split_tags(tag)))
    return _changed(text, gone, lambda tags: [one for one in tags if plain_tag(one) not in gone])


def with_tag_replaced(text: str, tag: str, by: str) -> str:
    """Return a caption with other tags in the place of one, in every line; what a line has already is not doubled."""
    old, new = set(map(plain_tag, split_tags(tag))), split_tags(by)

    def replaced(tags: list[str]) -> list[str]:
        return list(dict.fromkeys(one for each in tags for one in (new if plain_tag(each) in old else [each])))

    return _changed(text, old, replaced)


@dataclass(frozen=True)
class CaptionReading:
    """What of a caption a training takes for more than letters: weights such as (tag:1.2), choices such as {a|b}."""

    weights: bool = False
    choices: bool = False


AS_LETTERS = CaptionReading()
"""Every character is a character."""


def caption_warnings(text: str, *, reading: CaptionReading = AS_LETTERS) -> tuple[str, ...]:
    """Say what in a caption acts differently from what it looks like, each as the rest of "a caption that …"."""
    said = []
    if len(lines_of(text)) > 1 and not reading.choices:
        said.append(say("has several lines: only the first is trained"))
    line = trained_line(text)
    if _NETWORK_TAG.search(text):
        said.append(say("contains a network tag such as <lora:…>"))
    if without_invisible(line) != line or control_characters(line):
        said.append(say("has invisible characters, which training reads as letters"))
    line = line.translate(_ASCII)
    weights = [match[1] for match in _WEIGHT.finditer(line)]
    if any(re.search("[,，、､]", inner) for inner in weights):
        said.append(say("has a weight that spans a comma, which shuffling would tear apart"))
    if weights and not reading.weights:
        said.append(say("has weights such as (tag:1.2), which training reads as letters"))
    if ("\\(" in line or "\\)" in line) and not reading.weights:
        said.append(say("has backslashes before brackets, which training reads as letters"))
    if _CHOICE.search(line) and not reading.choices:
        said.append(say("has choices in braces, which training reads as letters"))
    if _DYNAMIC.search(line):
        said.append(
            say("has names, counts or weights of Dynamic Prompts such as __hair__, which training reads as letters")
        )
    if _EDIT.search(line):
        said.append(say("has prompt editing such as [a:b:0.5] or [a|b], which training reads as letters"))
    if _EMPHASIS.search(line) and not reading.weights:
        said.append(say("has brackets for emphasis such as ((tag)) or [tag], which training reads as letters"))
    if _WORDS.search(line):
        said.append(say("has BREAK or AND, which training reads as words"))
    return tuple(said)


def _says_something(line: str) -> bool:
    return bool(strip_network_tags(line)[0].strip(" ,，、､\u3000"))


def _changed(text: str, tags: Collection[str], change: Callable[[list[str]], list[str]]) -> str:
    """Return a caption with each line changed that has one of the (plain) tags; a line that becomes empty goes."""
    lines, touched = lines_of(text), False
    for at, line in enumerate(lines):
        has = split_tags(line)
        if any(plain_tag(one) in tags for one in has):
            lines[at], touched = ", ".join(change(has)), True
    return "\n".join(line for line in lines if line) if touched else text

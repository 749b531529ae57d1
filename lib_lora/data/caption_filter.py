"""Captions chosen by their tags: ``hat and not (cat or "black and white")``, ``*`` for any letters."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate

from lib_lora.data.tag_lines import lines_of, split_tags
from lib_lora.errors import InputError

Test = Callable[[frozenset[str]], bool]
"""Whether a caption with these tags, in small letters, is meant."""

_SIGNS = re.compile(r'"([^"]*)"|(?<!\\)([()])|(?<![^\s()])(and|or|not)(?![^\s()])', re.IGNORECASE)


def caption_filter(expression: str) -> Callable[[str], bool]:
    """Return a test of captions; an empty expression takes all.

    ``not`` binds before ``and``, ``and`` before ``or``. A tag is the words between; one that holds such a word, or
    brackets, stands in quotes, or has a backslash before its brackets.

    Raises:
        InputError: the expression is no such one.
    """
    words = _words(expression)
    if not words:
        return lambda caption: True
    test, rest = _either(words, expression)
    if rest:
        raise _error(expression)

    def chosen(caption: str) -> bool:
        return test(frozenset(tag.casefold() for line in lines_of(caption) for tag in split_tags(line)))

    return chosen


def _words(expression: str) -> list[tuple[str, str]]:
    """Return the expression as (kind, text): ``sign`` or ``tag``."""
    found, at = [], 0
    for match in _SIGNS.finditer(expression):
        found.append(("tag", expression[at : match.start()]))
        quoted, bracket, word = match.groups()
        found.append(("tag", quoted) if quoted is not None else ("sign", (bracket or word).lower()))
        at = match.end()
    found.append(("tag", expression[at:]))
    return [(kind, text.strip()) for kind, text in found if text.strip()]


def _either(words: list[tuple[str, str]], whole: str) -> tuple[Test, list[tuple[str, str]]]:
    first, rest = _both(words, whole)
    if rest[:1] != [("sign", "or")]:
        return first, rest
    second, rest = _either(rest[1:], whole)
    return (lambda tags: first(tags) or second(tags)), rest


def _both(words: list[tuple[str, str]], whole: str) -> tuple[Test, list[tuple[str, str]]]:
    first, rest = _one(words, whole)
    if rest[:1] != [("sign", "and")]:
        return first, rest
    second, rest = _both(rest[1:], whole)
    return (lambda tags: first(tags) and second(tags)), rest


def _one(words: list[tuple[str, str]], whole: str) -> tuple[Test, list[tuple[str, str]]]:
    if not words:
        raise _error(whole)
    (kind, text), rest = words[0], words[1:]
    if kind == "tag":
        pattern = re.compile(translate(re.sub(r"\\([()])", r"\1", text).replace("[", "[[]").casefold()))
        return (lambda tags: any(pattern.match(tag.replace("\\", "")) for tag in tags)), rest
    if text == "not":
        inner, rest = _one(rest, whole)
        return (lambda tags: not inner(tags)), rest
    if text == "(":
        inner, rest = _either(rest, whole)
        if rest[:1] == [("sign", ")")]:
            return inner, rest[1:]
    raise _error(whole)


def _error(expression: str) -> InputError:
    return InputError(
        "“{value}” is no choice of captions",
        value=expression[:80],
        option="only",
        cure="Write tags with and, or, not and brackets, e.g. hat and not (cat or dog).",
    )

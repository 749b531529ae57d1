"""Regular expressions from a stranger's file, matched without backtracking, so that none can run for ever.

Python's own parser reads the expression; what it may match is followed as a set of places in the text, each visited
once for every part (Thompson 1968, "Regular expression search algorithm"). The time is bounded by the length of the
expression times a small power of the length of the text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

if sys.version_info >= (3, 11):
    from re import _parser as sre_parse  # the same module, which the standard library now calls its own affair
else:
    import sre_parse

LENGTH_LIMIT = 300
"""Characters of an expression."""

_DEPTH_LIMIT = 12
"""How deep groups and repeats may stand in one another."""

_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_START, _END = ("AT_BEGINNING", "AT_BEGINNING_STRING"), ("AT_END", "AT_END_STRING")


@lru_cache(maxsize=4096)
def _parsed(pattern: str) -> Any:
    """Return the tree of an expression.

    Raises:
        ValueError: it is broken, too long, or has a part that cannot be followed (a back reference, a flag).
    """
    if len(pattern) > LENGTH_LIMIT:
        raise ValueError("too long")
    try:
        tree = sre_parse.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if tree.state.flags & ~re.UNICODE:
        raise ValueError("a flag")
    _check(tree, 0)
    return tree


def ends_with(pattern: str, text: str) -> bool:
    """Whether ``text``, or what follows one of its dots, is wholly what ``pattern`` matches, as PEFT looks for it.

    Raises:
        ValueError: the pattern cannot be used.
    """
    tree = _parsed(pattern)
    starts = {0, *(place + 1 for place, char in enumerate(text) if char == ".")}
    return len(text) in _after(tree, starts, text)


def is_whole(pattern: str, text: str) -> bool:
    """Whether all of ``text`` is what ``pattern`` matches.

    Raises:
        ValueError: the pattern cannot be used.
    """
    return len(text) in _after(_parsed(pattern), {0}, text)


def _check(tree: Any, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise ValueError("nested too deeply")
    for kind, value in tree:
        name = repr(kind)
        if name == "BRANCH":
            for branch in value[1]:
                _check(branch, depth + 1)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            _check(value[2], depth + 1)
        elif name == "SUBPATTERN":
            if value[1] or value[2]:
                raise ValueError("a flag")
            _check(value[3], depth + 1)
        elif name not in ("LITERAL", "NOT_LITERAL", "ANY", "IN") and not (
            name == "AT" and repr(value) in (*_START, *_END)
        ):
            raise ValueError(f"{name.lower()} is not followed")


def _after(tree: Any, places: set[int], text: str) -> set[int]:
    """Return the places of the text at which ``tree`` may end where it begins at one of ``places``."""
    for kind, value in tree:
        if not places:
            return places
        name = repr(kind)
        if name == "BRANCH":
            places = set().union(*(_after(branch, places, text) for branch in value[1]))
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            places = _repeated(value, places, text)
        elif name == "SUBPATTERN":
            places = _after(value[3], places, text)
        elif name == "AT":
            edge = 0 if repr(value) in _START else len(text)
            places = places & {edge}
        else:
            places = {place + 1 for place in places if place < len(text) and _takes(name, value, text[place])}
    return places


def _repeated(value: tuple[Any, Any, Any], places: set[int], text: str) -> set[int]:
    least, most, tree = int(value[0]), int(value[1]), value[2]
    for _ in range(least):
        further = _after(tree, places, text)
        if further == places:  # as often as one likes, nothing changes any more
            break
        places = further
    found, fresh = set(places), places
    for _ in range(min(most - least, len(text) + 1)):
        fresh = _after(tree, fresh, text) - found
        if not fresh:
            break
        found |= fresh
    return found


def _takes(name: str, value: Any, char: str) -> bool:
    """Whether a part that stands for one character takes this one."""
    if name == "ANY":
        return char != "\n"
    if name == "LITERAL":
        return ord(char) == value
    if name == "NOT_LITERAL":
        return ord(char) != value
    return _in_set(value, char)


def _in_set(items: Iterable[tuple[Any, Any]], char: str) -> bool:
    found = negated = False
    for kind, value in items:
        name = repr(kind)
        if name == "NEGATE":
            negated = True
        elif name == "LITERAL":
            found |= ord(char) == value
        elif name == "RANGE":
            found |= value[0] <= ord(char) <= value[1]
        else:
            found |= re.match(_CATEGORIES[repr(value)], char) is not None
    return found != negated

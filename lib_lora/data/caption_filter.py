"""Captions chosen by their tags: ``hat and not (cat or "black and white")``, ``*`` for any letters."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate

from lib_lora.data.tag_lines import lines_of, plain_tag, split_tags
from lib_lora.errors import InputError

Test = Callable[[frozenset[str]], bool]
"""Whether a caption with these tags, in small letters, is meant."""
Words = list[tuple[str, str]]
"""Tags and signs of an expression, each with its kind."""
Part = Callable[[Words, str, int], tuple[Test, Words]]
"""Reads a part from the front of words (of the whole expression, so deep inside it): its test, and the other words."""

_SIGNS = re.compile(r'["“”]([^"“”]*)["“”]|(?<!\\)([()（）])|(?<![^\s()（）])(and|or|not)(?![^\s()（）])', re.IGNORECASE)
_NO_TAG = re.compile(r'["“”,，、､]|&&|\|\|')
"""What no tag holds: a quote that is not closed, a comma, and signs that mean and and or elsewhere."""
_HALF = str.maketrans("（）", "()")
_DEEPEST = 50
"""Brackets and nots inside of each other at most; more is a slip of the keyboard."""


def caption_filter(expression: str) -> Callable[[str], bool]:
    """Return a test of captions; an empty expression takes all.

    ``not`` binds before ``and``, ``and`` before ``or``. A tag is the words between; one that holds such a word, or
    brackets, stands in quotes, or has a backslash before its brackets. Brackets and quotes of any keyboard will do.

    Raises:
        InputError: the expression is no such one.
    """
    words = _words(expression)
    if not words:
        return lambda caption: True
    test, rest = _either(words, expression, 0)
    if rest:
        raise _error(expression)

    def chosen(caption: str) -> bool:
        return test(frozenset(tag.casefold() for line in lines_of(caption) for tag in split_tags(line)))

    return chosen


def _words(expression: str) -> Words:
    """Return the expression as (kind, text): ``sign`` or ``tag``."""
    found, at = [], 0
    for match in _SIGNS.finditer(expression):
        found.append(("tag", expression[at : match.start()]))
        quoted, bracket, word = match.groups()
        found.append(("quoted", quoted) if quoted is not None else ("sign", (bracket or word).translate(_HALF).lower()))
        at = match.end()
    found.append(("tag", expression[at:]))
    if any(kind == "tag" and _NO_TAG.search(text) for kind, text in found):
        raise _error(expression)
    return [("sign" if kind == "sign" else "tag", text.strip()) for kind, text in found if text.strip()]


def _either(words: Words, whole: str, depth: int) -> tuple[Test, Words]:
    tests, rest = _joined("or", _both, words, whole, depth)
    return (lambda tags: any(test(tags) for test in tests)), rest


def _both(words: Words, whole: str, depth: int) -> tuple[Test, Words]:
    tests, rest = _joined("and", _one, words, whole, depth)
    return (lambda tags: all(test(tags) for test in tests)), rest


def _joined(sign: str, part: Part, words: Words, whole: str, depth: int) -> tuple[list[Test], list]:
    """Return the tests of the parts that a sign joins, and what is left of the words."""
    test, rest = part(words, whole, depth)
    tests = [test]
    while rest[:1] == [("sign", sign)]:
        test, rest = part(rest[1:], whole, depth)
        tests.append(test)
    return tests, rest


def _one(words: Words, whole: str, depth: int) -> tuple[Test, Words]:
    if not words or depth > _DEEPEST:
        raise _error(whole)
    (kind, text), rest = words[0], words[1:]
    if kind == "tag":
        pattern = re.compile(translate(plain_tag(text).replace("[", "[[]").casefold()))
        return (lambda tags: any(pattern.match(plain_tag(tag)) for tag in tags)), rest
    if text == "not":
        inner, rest = _one(rest, whole, depth + 1)
        return (lambda tags: not inner(tags)), rest
    if text == "(":
        inner, rest = _either(rest, whole, depth + 1)
        if rest[:1] == [("sign", ")")]:
            return inner, rest[1:]
    raise _error(whole)


def _error(expression: str) -> InputError:
    return InputError(
        "“{value}” is no choice of captions",
        value=expression[:80],
        option="only",
        cure='Write tags with and, or, not and brackets, e.g. hat and not (cat or "smile (object)").',
    )

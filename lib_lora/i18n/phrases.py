"""English sentences with values inside, found again by their fixed text and said in another language.

A phrase is a sentence with ``{places}``. Matching looks for the fixed pieces from left to right, each where it first
occurs; since the last piece must end the text, that finds a match wherever there is one, in one pass and without a
regular expression that could run away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter

NESTED = frozenset({"what", "cure", "reason", "reasons", "said"})
"""Places whose value is a sentence itself, or several, and is said in the other language too."""
COUNT = "n"
"""The place that takes only a number, so that “{n} files …” is not found in “the files …”."""

_CUTS = 8
"""How many separators inside of a sentence are tried; nobody writes more."""
_PARTS = 40
"""How many parts of a list are read."""
_DEPTH = 2
"""How deep sentences inside of sentences are read."""
_LISTS = (("; ", "；"), (", ", "、"))
"""What stands between the entries of a list, the coarse separator first, and what stands there instead."""
_LINES = re.compile(r"(?<=[.!?]) (?=line [0-9]{1,9}: )")
_NUMBER = re.compile(r"[-+0-9.,e]{1,40}")


@dataclass(frozen=True)
class Phrase:
    """One sentence: the fixed pieces of the English, the places between them, the sentence to say instead."""

    key: str
    pieces: tuple[str, ...]
    places: tuple[str, ...]
    said: str

    @classmethod
    def of(cls, key: str, english: str, said: str) -> Phrase:
        """Read a template in the form of `str.format`."""
        pieces, places = [""], []
        for fixed, place, _, _ in Formatter().parse(english):
            pieces[-1] += fixed
            if place is not None:
                places.append(place)
                pieces.append("")
        return cls(key, tuple(pieces), tuple(places), said)

    @property
    def weight(self) -> int:
        """Letters of fixed text: of two phrases that match, the one with more says more exactly what is meant."""
        return sum(map(len, self.pieces))

    def match(self, text: str) -> dict[str, str] | None:
        """Return the values of the places, or None where this is another sentence."""
        first, last = self.pieces[0], self.pieces[-1]
        if len(text) < self.weight or not text.startswith(first) or not text.endswith(last):
            return None
        begin, end = len(first), len(text) - len(last)
        values = []
        for piece in self.pieces[1:-1]:
            at = text.find(piece, begin, end)
            if at < 0:
                return None
            values.append(text[begin:at])
            begin = at + len(piece)
        found = dict(zip(self.places, [*values, text[begin:end]], strict=True))
        return found if COUNT not in found or _NUMBER.fullmatch(found[COUNT]) else None


Found = tuple[str, frozenset[str]]
"""A sentence in the other language, and the keys of the phrases that it took."""


class PhraseBook:
    """The sentences of one language, looked up by the English that a program says."""

    def __init__(self, table: Mapping[str, tuple[str, str]], inner: PhraseBook | None = None) -> None:
        """Take (English, other language) by key; ``inner`` has the sentences that may stand in places and in lists."""
        self._inner = inner or self
        phrases = [Phrase.of(key, english, said) for key, (english, said) in table.items()]
        self._fixed = {phrase.pieces[0]: phrase for phrase in phrases if not phrase.places}
        self._open = sorted((p for p in phrases if p.places), key=lambda p: p.weight, reverse=True)
        letters = {phrase.pieces[0][:1] for phrase in self._open}
        self._by_letter = {
            letter: [p for p in self._open if p.pieces[0][:1] in ("", letter)] for letter in letters | {""}
        }

    def say(self, text: str) -> str:
        """Return a sentence, or a line put together of several, in this language as far as it is known."""
        return self.find(text)[0]

    def find(self, text: str) -> Found:
        """Return what `say` returns and the keys of the phrases behind it; no key where nothing is known."""
        return self._text(text, 0)

    def _text(self, text: str, depth: int) -> Found:
        """Read what may be one sentence, several, or none, which stays as it is."""
        if text in self._fixed:
            return self._whole(text)
        lines = _LINES.split(text, maxsplit=_PARTS)
        if len(lines) > 1:
            return _joined(" ", *(self._line(line, depth) for line in lines))
        return self._line(text, depth)

    def _line(self, text: str, depth: int, separators: tuple[tuple[str, str], ...] = _LISTS) -> Found:
        """Read one line: sentences, or a list of them."""
        found = self._placed(text, depth)
        if found[1] or not separators:
            return found
        (separator, mark), *finer = separators
        if separator not in text:
            return self._line(text, depth, tuple(finer))
        parts = text.split(separator, maxsplit=_PARTS)
        listed = _joined(mark, *(self._inner._line(part, depth, tuple(finer)) for part in parts))
        return listed if listed[1] else (text, frozenset())

    def _placed(self, text: str, depth: int) -> Found:
        """Read sentences that may stand behind the place that they are about: ``PLACE: WHAT. CURE``."""
        found = self._sentences(text, depth)
        if found:
            return found
        for place, rest in _cuts(text, ": "):
            found = self._sentences(rest, depth)
            if found:
                return f"{place}：{found[0]}", found[1]
        return text, frozenset()

    def _sentences(self, text: str, depth: int) -> Found | None:
        """Read one sentence, or two with a full stop between, with or without a full stop at the end."""
        if text in self._fixed:
            return self._whole(text)
        for first, second in _cuts(text, ". "):  # before the open phrases, whose last place would take the second
            after = self._sentence(second, depth)
            before = after and self._sentence(first, depth)
            if before and after:
                return _joined("。", before, after)
        found = self._sentence(text, depth)
        if found is None and text.endswith("."):
            found = self._sentence(text[:-1], depth)
            return found and (f"{found[0]}。", found[1])
        return found

    def _sentence(self, text: str, depth: int) -> Found | None:
        """Read exactly one sentence, with the sentences in its places."""
        if text in self._fixed:
            return self._whole(text)
        for phrase in self._candidates(text):
            values = phrase.match(text)
            if values is not None:
                keys = {phrase.key}
                for place in NESTED & values.keys() if depth < _DEPTH else ():
                    values[place], more = self._inner._text(values[place], depth + 1)
                    keys |= more
                return phrase.said.format_map(values), frozenset(keys)
        return None

    def _whole(self, text: str) -> Found:
        phrase = self._fixed[text]
        return phrase.said.format(), frozenset({phrase.key})

    def _candidates(self, text: str) -> list[Phrase]:
        """Return the phrases with places that can begin like a text, the one with the most fixed text first."""
        return self._by_letter.get(text[:1], self._by_letter[""])


def _cuts(text: str, separator: str) -> Iterator[tuple[str, str]]:
    """Yield (before, after) for the first few separators."""
    at = text.find(separator)
    for _ in range(_CUTS):
        if at < 0:
            return
        yield text[:at], text[at + len(separator) :]
        at = text.find(separator, at + 1)


def _joined(by: str, *parts: Found) -> Found:
    return by.join(text for text, _ in parts), frozenset().union(*(keys for _, keys in parts))

"""The names near a wrong one, found quickly among thousands: an index of them is built once and asked many times."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache

_LONGEST = 60  # characters of a wrong name that are compared
_COMPARED = 40  # names with the most pairs of letters in common; only these are compared letter by letter


def near_names(name: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.5) -> list[str]:
    """Return the known names nearest to ``name``, the nearest first, case aside.

    ``most`` and ``cutoff`` are those of `difflib.get_close_matches`, which alone takes seconds for a few hundred names
    among thousands.
    """
    return _index_of(tuple(known)).near(name[:_LONGEST].casefold(), most, cutoff)


class _Index:
    def __init__(self, names: Iterable[str]) -> None:
        self._by_fold: dict[str, str] = {}
        self._by_pair: dict[str, list[str]] = defaultdict(list)
        for name in names:
            if self._by_fold.setdefault(name.casefold(), name) is name:
                for pair in _pairs(name[:_LONGEST].casefold()):
                    self._by_pair[pair].append(name.casefold())

    def near(self, text: str, most: int, cutoff: float) -> list[str]:
        common = Counter(fold for pair in _pairs(text) for fold in self._by_pair.get(pair, ()))
        compared = [fold for fold, _ in common.most_common(_COMPARED)]
        return [self._by_fold[fold] for fold in difflib.get_close_matches(text, compared, n=most, cutoff=cutoff)]


@lru_cache(maxsize=8)
def _index_of(names: tuple[str, ...]) -> _Index:
    return _Index(names)


def _pairs(text: str) -> set[str]:
    """Return each letter with its neighbor; the ends count as letters, so that one letter has pairs, too."""
    framed = f"\0{text}\0"
    return {framed[start : start + 2] for start in range(len(framed) - 1)}

"""The kinds of adapters that are known: which one the parts of a module are of, and reading it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.sentences import say

KINDS: list[type[Adapter]] = []
"""In the order in which they are tried; a kind that holds another one (a bias, a DoRA) stands before it."""

UNKNOWN_KIND = say("unknown")

_CURE = say("Get the file again, or use another one.")


def register(kind: type[Adapter]) -> type[Adapter]:
    """Add a kind: files that hold it are read, attached, merged and described from now on. Usable as a decorator."""
    KINDS.append(kind)
    _possible.cache_clear()
    return kind


def find_kind(parts: Mapping[str, Tensor]) -> type[Adapter] | None:
    """Return the kind that the parts of a module are of, complete or not; None where none is known."""
    return next((kind for kind, sure in _possible(frozenset(parts)) if sure or kind.matches(parts)), None)


@lru_cache(maxsize=1024)
def _possible(names: frozenset[str]) -> tuple[tuple[type[Adapter], bool], ...]:
    """Return the kinds that parts of these names may be of, and whether the names tell it already.

    A folder has many thousands of modules, and few sets of names.
    """
    by_names = Adapter.matches.__func__  # type: ignore[attr-defined]  # of a class method
    return tuple((kind, kind.matches.__func__ is by_names) for kind in KINDS if kind.may_be(names))  # type: ignore[attr-defined]


def kind_and_rank(parts: Mapping[str, Tensor]) -> tuple[str, int | None]:
    """Return the title of the parts' kind, or "unknown", and the rank that their shapes tell, or None."""
    kind = find_kind(parts)
    return (UNKNOWN_KIND, None) if kind is None else (kind.title, kind.rank_in(parts))


def rank_in(parts: Mapping[str, Tensor]) -> int | None:
    """Return the rank that a module's shapes tell, or None."""
    kind = find_kind(parts)
    return None if kind is None else kind.rank_in(parts)


def read_adapter(key: str, parts: Mapping[str, Tensor]) -> Adapter:
    """Build the adapter of one module from its parts.

    Raises:
        FileError: the parts are of an unknown kind, incomplete, or do not fit one another.
    """
    found = find_kind(parts)
    if found is not None:
        return found.read(key, parts)
    if set(parts) == {"alpha"}:
        raise FileError("There is an alpha without the tensors that it belongs to", where=key, cure="Get it again.")
    raise FileError("The file holds changes of an unknown kind", where=f"{key}.{min(parts)}", cure=_CURE)

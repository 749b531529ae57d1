"""The kinds of adapters that are known: which one the parts of a module are of, and reading it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.sentences import say

KINDS: list[type[Adapter]] = []
"""In the order in which they are tried; a kind that holds another one (a bias, a DoRA) stands before it."""

UNKNOWN_KIND = "unknown"

_REFUSED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (say("BOFT of PEFT"), ("boft_",)),
    (say("old OFT"), ("oft_diag",)),
    (say("whole weight"), ("set_weight",)),
    (say("sparse bias"), ("bias_",)),
)
"""Kinds that are known but not applied, with the starts of the part names that give them away."""

REFUSED_NAMES = r"set_weight|boft_\w+|oft_diag"
"""A regular expression of the part names of refused kinds, as a dotted tensor name may end with them."""

_CURE = say("Get the file again, or use another one.")


def register(kind: type[Adapter]) -> type[Adapter]:
    """Add a kind: files that hold it are read, attached, merged and described from now on. Usable as a decorator."""
    KINDS.append(kind)
    return kind


def find_kind(parts: Mapping[str, Tensor]) -> type[Adapter] | None:
    """Return the kind that the parts of a module are of, complete or not; None where none is known or applied."""
    if _refused_kind(parts) is not None:
        return None
    return next((kind for kind in KINDS if kind.matches(parts)), None)


def kind_of(parts: Mapping[str, Tensor]) -> str:
    """Return the title of the parts' kind: of one that is applied, of one that is only described, or "unknown"."""
    refused, kind = _refused_kind(parts), find_kind(parts)
    return refused[0] if refused is not None else UNKNOWN_KIND if kind is None else kind.title


def applied_titles() -> tuple[str, ...]:
    """Return what people call the kinds that are applied."""
    return tuple(kind.title for kind in KINDS)


def rank_in(parts: Mapping[str, Tensor]) -> int | None:
    """Return the rank that a module's shapes tell, or None."""
    kind = find_kind(parts)
    return None if kind is None else kind.rank_in(parts)


def read_adapter(key: str, parts: Mapping[str, Tensor]) -> Adapter:
    """Build the adapter of one module from its parts.

    Raises:
        FileError: the parts are of a kind that is not applied, incomplete, or do not fit one another.
    """
    refused = _refused_kind(parts)
    if refused is not None:
        kind, part = refused
        what = say("The file holds changes of the kind {said}, which cannot be applied or merged", said=kind)
        raise FileError(what, where=f"{key}.{part}", cure="Use a file of another kind, such as LoRA or LoHa.")
    found = find_kind(parts)
    if found is not None:
        return found.read(key, parts)
    if set(parts) == {"alpha"}:
        raise FileError("There is an alpha without the tensors that it belongs to", where=key, cure="Get it again.")
    raise FileError("The file holds changes of an unknown kind", where=f"{key}.{min(parts)}", cure=_CURE)


def _refused_kind(parts: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return the first refused kind among part names, and the part that gave it away."""
    for kind, starts in _REFUSED:
        for part in sorted(parts):
            if part.startswith(starts):
                return kind, part
    return None

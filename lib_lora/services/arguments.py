"""The kinds of what a program gives to `import lib_lora`, looked at before anything is done with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

_F = TypeVar("_F", bound=Callable[..., Any])
_NUMBERS: Mapping[Any, type] = {float: Real, int: Integral}
_MANY = (Sequence, Iterable)


def checked(function: _F) -> _F:
    """Return a function that refuses an argument of another kind than its annotation names, before it does anything."""
    signature, space = inspect.signature(function), inspect.unwrap(function).__globals__
    kinds = {
        name: _evaluated(one.annotation, space)
        for name, one in signature.parameters.items()
        if one.kind != one.VAR_KEYWORD
    }

    @wraps(function)
    def call(*args: Any, **more: Any) -> Any:
        for name, value in signature.bind(*args, **more).arguments.items():
            wrong = _misfit(value, kinds.get(name, Any), name)
            if wrong is not None:
                place, found = wrong
                raise InputError(
                    "{name} cannot be of the kind {kind}",
                    name=place,
                    kind=type(found).__name__,
                    where=function.__name__,
                    cure=_cure(_told(kinds[name])),
                )
        return function(*args, **more)

    return call  # type: ignore[return-value]  # the same arguments and the same answer


def _evaluated(annotation: Any, space: Mapping[str, Any]) -> Any:
    """Return what an annotation names; any kind where only a checker of types can tell."""
    try:
        return eval(annotation, dict(space)) if isinstance(annotation, str) else annotation  # our own source
    except NameError:
        return Any


def _misfit(value: Any, kind: Any, name: str) -> tuple[str, Any] | None:
    """Return the name and the value of what is of another kind, as deep as it can be told; None where all fits."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        wrong = [_misfit(value, one, name) for one in args]
        return None if None in wrong else max((one for one in wrong if one), key=lambda one: len(one[0]))
    if not _is(value, origin or kind) or (isinstance(value, str) and origin in _MANY):
        return name, value
    if origin is tuple:
        fits = len(value) == len(args) and not any(map(_misfit, value, args, [name] * len(args)))
        return None if fits else (name, value)
    if origin in _MANY and isinstance(value, Collection):
        found = (_misfit(one, args[0], f"{name}[{at}]") for at, one in enumerate(value))
        return next(filter(None, found), None)
    return None


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, or has a part of one that is told by its parts (a protocol)."""
    if kind is Any or not isinstance(kind, type | None):
        return True
    if getattr(kind, "_is_protocol", False):
        return any(hasattr(value, name) for name in (*vars(kind), *kind.__annotations__) if not name.startswith("_"))
    return isinstance(value, _NUMBERS.get(kind, kind or type(None)))


def _cure(kinds: str) -> Sentence:
    if "LoraFile" in kinds:
        return say("Read the file with lib_lora.read_lora, and give what it returns.")
    if "HasLayers" in kinds:
        return say("Give the model of a host: host.model.")
    return say("Give what lib_lora.open_studio returns.") if kinds == "Host" else say("Give {kinds}.", kinds=kinds)


def _told(kind: Any) -> str:
    """Return a kind in words of Python, without the modules that its names are from."""
    return re.sub(r"(\w+\.)+", "", kind.__name__ if isinstance(kind, type) else str(kind))

"""What a route is given: the checked fields of a request; and what it is: method, path, fields and a function."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

TEXT_LIMIT = 1_000_000
"""Characters of one text; a preset file or a prompt is far shorter."""


class NotFound(InputError):
    """What a request names is not there: HTTP 404."""


@dataclass(frozen=True)
class Field:
    """One field of a body or of an address.

    Attributes:
        name: as it is written.
        kind: ``str``, ``int``, ``float``, ``bool``, ``list`` or ``dict``.
        help: one sentence for the page of the API.
        default: what a missing one means; `REQUIRED`: it must be there.
        low, high: what a number may be.
        choices: the texts that are allowed; empty for any.
    """

    name: str
    kind: type
    help: str
    default: Any = None
    low: float = -math.inf
    high: float = math.inf
    choices: Sequence[str] = ()

    def read(self, value: Any) -> Any:
        """Return the value in the field's kind.

        Raises:
            InputError: it has another kind, is out of range, or is none of the choices.
        """
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 1e300 else value
        if self.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        wrong = not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool)
        if wrong or (self.kind is float and not math.isfinite(value)):
            raise InputError(_meant(self.kind), where=self.name, cure="Look at docs/api.md.")
        if self.kind in (int, float) and not self.low <= value <= self.high:
            cure = say("Give a number from {low:g} to {high:g}.", low=self.low, high=self.high)
            raise InputError("{value:g} is out of range", value=value, where=self.name, cure=cure)
        if self.kind is str and len(value) > TEXT_LIMIT:
            raise InputError("This text is too long", where=self.name, cure="Shorten it.")
        if self.choices and value not in self.choices:
            cure = say("Choose one of: {names}.", names=self.choices)
            raise InputError("“{value}” is unknown", value=str(value)[:60], where=self.name, cure=cure)
        return value


def _meant(kind: type) -> Sentence:
    if kind is str:
        return say("This field is a text")
    if kind is int:
        return say("This field is a whole number")
    if kind is float:
        return say("This field is a number")
    if kind is bool:
        return say("This field is true or false")
    return say("This field is a list") if kind is list else say("This field is an object")


REQUIRED = object()
"""The default of a field that must be there."""


@dataclass(frozen=True)
class Call:
    """One request: its fields, and the language that its sender reads."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    language: str = "en"

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(frozen=True)
class Route:
    """One address.

    Attributes:
        method: ``GET`` or ``POST``.
        path: behind ``/lora-atelier/v1``; ``{name}`` marks a part that is a field.
        answer: from a `Call` to something that JSON can hold; runs in a thread of its own.
        summary: what it does, in a sentence.
        fields: of the body (POST) or behind the ``?`` (GET), and those in the path.
        open: whether fields that are not named are handed on too (training options have their own checks).
        status: of a good answer: 200, or 202 where the work goes on.
    """

    method: str
    path: str
    answer: Callable[[Call], Any]
    summary: str
    fields: tuple[Field, ...] = ()
    open: bool = False
    status: int = 200

    def read(self, values: Mapping[str, Any], *, language: str = "en") -> Call:
        """Return the checked call of a request's values.

        Raises:
            InputError: a field is missing, unknown (with the nearest names), or wrong.
        """
        known = {one.name: one for one in self.fields}
        found: dict[str, Any] = {}
        for name, value in values.items():
            if name in known:
                if value is not None:
                    found[name] = known[name].read(value)
            elif self.open:
                found[name] = value
            else:
                near = difflib.get_close_matches(name, known, n=3) or sorted(known)
                cure = say("Did you mean: {names}?", names=near) if near else say("This route takes none.")
                raise InputError("There is no field “{name}”", name=name[:60], where=self.path, cure=cure)
        for name, one in known.items():
            if name not in found:
                if one.default is REQUIRED:
                    raise InputError(
                        "The field “{name}” is missing", name=name, where=self.path, cure="Give it a value."
                    )
                found[name] = one.default
        return Call(found, language)

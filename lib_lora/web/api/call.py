"""What a route is given: the checked options of a request; and what it is: method, path, options and a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib_lora.errors import InputError
from lib_lora.options import Option, check_names


class NotFound(InputError):
    """What a request names is not there: HTTP 404."""


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        fields: every option of the route, those that were not sent with their defaults.
        given: those that were sent.
        language: the one that its sender reads.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    language: str = "en"

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def of(self, options: tuple[Option, ...]) -> dict[str, Any]:
        """Return some options' values by name, as the class that declares them takes them."""
        return {one.name: self.fields[one.name] for one in options}


@dataclass(frozen=True)
class Route:
    """One address.

    Attributes:
        method: ``GET`` or ``POST``.
        path: behind ``/lora-atelier/v1``; ``{name}`` marks a part that is an option.
        answer: from a `Call` to something that JSON can hold; runs in a thread of its own.
        summary: what it does, in a sentence.
        options: of the body (POST) or behind the ``?`` (GET), and those in the path.
        status: of a good answer: 200, or 202 where the work goes on.
    """

    method: str
    path: str
    answer: Callable[[Call], Any]
    summary: str
    options: tuple[Option, ...] = ()
    status: int = 200

    def read(self, values: Mapping[str, Any], *, language: str = "en") -> Call:
        """Return the checked call of a request's values.

        Raises:
            InputError: an option is missing, unknown (with the nearest names), or wrong.
        """
        given = read(self.options, values, where=self.path)
        return Call({one.name: one.default for one in self.options} | given, given, language)


def read(options: tuple[Option, ...], values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the values that are not null, each in its option's kind.

    Raises:
        InputError: an option is missing, unknown (with the nearest names), or wrong.
    """
    check_names(options, values, where=where)
    known = {one.name: one for one in options}
    return {name: known[name].read(value) for name, value in values.items() if value is not None}

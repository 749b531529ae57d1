"""What a person can ask for, each thing declared once: its kind, default, bounds, label and explanation.

A frozen dataclass declares its fields with `option`. The terminal's flags, the fields of REST, the panels' widgets and
the tables of ``docs/api.md`` are made from `options_of`, so that no door has a default or a bound of its own. Labels
and explanations are English here; ``i18n/options.ja.json`` has the Japanese under the English sentence.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, TypeVar

from lib_lora.errors import InputError
from lib_lora.sentences import say

_T = TypeVar("_T")

AUTO = "auto"
"""A value that follows from the model."""
AutoFloat = float | str
"""A number, or `AUTO`."""

REQUIRED: Any = object()
"""The default of what must be given."""

TEXT_LIMIT = 1_000_000
"""Characters of one text; a preset file or a prompt is far shorter."""

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udc7f\udd00-\udfff]")

FEW = 12
"""So many names are listed whole where none is near."""

_KINDS: Mapping[str, type] = {
    "int": int,
    "float": float,
    "AutoFloat": float,
    "bool": bool,
    "tuple[str, ...]": tuple,
    "Mapping[str, Any]": dict,
}
"""Annotation to kind; every other one is a text."""


@dataclass(frozen=True)
class Option:
    """One thing that a person can say.

    Attributes:
        name: as it is written in a file, a flag (with ``-`` for ``_``) or a field.
        kind: ``str``, ``int``, ``float``, ``bool``, ``tuple`` (texts), ``list`` (anything) or ``dict``.
        help: what it means, in words of who makes pictures.
        default: what a missing one means; `REQUIRED`: it must be there. None: as the model or the file says.
        label: a widget's; empty where no panel shows it.
        low, high: what a number may be.
        step: by which a slider moves.
        offered: the part of low to high that a slider offers; None for all of it.
        choices: the texts that are allowed; empty for any.
        form: how a text is written, for the terminal's help: ``DIR``, ``A,B``.
        auto: whether the word `AUTO` may stand in place of a number.
        paths: whether a class of another package may stand beside the choices, as ``package.module.Class``.
    """

    name: str
    kind: type
    help: str
    default: Any = REQUIRED
    label: str = ""
    low: float = -math.inf
    high: float = math.inf
    step: float | None = None
    offered: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    form: str = ""
    auto: bool = False
    paths: bool = False

    def read(self, value: Any) -> Any:
        """Return a value of Python or JSON in this option's kind.

        Raises:
            InputError: it has another kind, is out of range, or is none of the choices.
        """
        if value is None and self.default is None:
            return None
        if self.auto and isinstance(value, str):
            value = auto_or_number(value, self.name)
            if value == AUTO:
                return AUTO
        if self.kind in (int, float):
            return self._number(value)
        if self.kind is tuple:
            return self._texts(value)
        if self.kind is bool and not isinstance(value, bool):
            raise InputError(
                "“{value}” is neither true nor false", value=_cut(value), where=self.name, cure="Give true or false."
            )
        if self.kind is list and not isinstance(value, list | tuple):
            raise InputError("This option is a list", where=self.name, cure="Give a list.")
        if self.kind is dict:
            if not isinstance(value, Mapping):
                raise InputError(
                    "This option is a table of names and values", where=self.name, cure="Give an object in braces."
                )
            for one in (each for pair in value.items() for each in pair if isinstance(each, str)):
                _refuse_controls(one, self.name)
            return dict(value)
        return self._text(value) if self.kind is str else value

    def parse(self, text: Any) -> Any:
        """Return what somebody typed into a terminal, an address or a field, in this option's kind.

        Raises:
            InputError: it cannot be read, or it cannot be right.
        """
        if isinstance(text, str) and self.kind is bool:
            text = {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        if isinstance(text, str) and self.kind in (int, float) and not self.auto:
            for kind in (int, float):
                with suppress(ValueError):
                    return self.read(kind(text))
        return self.read(text)

    def _number(self, value: Any) -> float:
        cure = say("Give a number from {low} to {high}.", low=_shown(self.low), high=_shown(self.high))
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except OverflowError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError("“{value}” is no number", value=_cut(value), where=self.name, cure=cure)
        if self.kind is int and not number.is_integer():
            raise InputError("{value} is no whole number", value=value, where=self.name, cure=cure)
        if not self.low <= number <= self.high:
            raise InputError("{value} is out of range", value=_shown(value), where=self.name, cure=cure)
        return int(value) if self.kind is int else number

    def _texts(self, value: Any) -> tuple[str, ...]:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise InputError("This option is a list of texts", where=self.name, cure="Give a list of texts in quotes.")
        for text in texts:
            _refuse_controls(text, self.name)
        return tuple(texts)

    def _text(self, value: Any) -> str:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value  # a folder, from a program
        if not isinstance(value, str):
            raise InputError("“{value}” is no text", value=_cut(value), where=self.name, cure="Give a text in quotes.")
        if len(value) > TEXT_LIMIT:
            raise InputError("This text is too long", where=self.name, cure="Shorten it.")
        _refuse_controls(value, self.name)
        if not self.choices or value in self.choices:
            return value
        if self.paths and "." in value and all(part.isidentifier() for part in value.split(".")):
            return value
        exact = {choice.lower(): choice for choice in self.choices}.get(value.lower())
        if exact is None:
            cure = say("Choose one of: {names}.", names=self.choices)
            raise InputError("“{value}” is unknown", value=_cut(value), where=self.name, cure=cure)
        return exact


def control_characters(text: str) -> list[str]:
    """Return the characters of a text that no person types: C0 and C1 but tab and line ends, and halves of pairs.

    A half from U+DC80 to U+DCFF may be a byte of a file's name, which is no text in UTF-8.
    """
    return sorted(set(_CONTROLS.findall(text)))


def without_controls(text: str) -> str:
    """Return a text without its `control_characters`, as a field can hold and hand it back."""
    return _CONTROLS.sub("", text)


def named(characters: Iterable[str]) -> list[str]:
    """Return characters as people look them up: ``U+0007``."""
    return [f"U+{ord(char):04X}" for char in characters]


def _refuse_controls(text: str, where: str) -> None:
    """Refuse a text that could not be shown, found again, or kept in a file.

    Raises:
        InputError: naming the characters.
    """
    found = control_characters(text)
    if found:
        raise InputError(
            "This text holds control characters, which nobody sees: {characters}",
            characters=named(found),
            where=where,
            cure="Type it anew instead of pasting it.",
        )


OVERWRITE = Option("overwrite", bool, "Replace a file of this name.", False)
"""What everything asks that writes a file which a person named."""


def option(default: Any, label: str, help: str, **more: Any) -> Any:
    """Declare a field of a frozen dataclass as an option; ``more``: further attributes of `Option`."""
    meta = {"option": {"label": label, "help": help, **more}}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=meta)
    return field(metadata=meta) if default is REQUIRED else field(default=default, metadata=meta)


@lru_cache(maxsize=64)
def _declared(holder: type) -> tuple[Option, ...]:
    found = []
    for one in fields(holder):
        if "option" in one.metadata:
            kind = str(one.type).removesuffix(" | None")
            default = one.default if one.default_factory is MISSING else one.default_factory()
            default = REQUIRED if default is MISSING else default
            more: dict[str, Any] = {"auto": True} if kind == "AutoFloat" else {}
            found.append(Option(one.name, _KINDS.get(kind, str), default=default, **more, **one.metadata["option"]))
    return tuple(found)


def options_of(holder: type, *, only: Collection[str] = (), but: Collection[str] = ()) -> tuple[Option, ...]:
    """Return what a dataclass declares, in its order: all, ``only`` some, or all ``but`` some."""
    return tuple(one for one in _declared(holder) if (not only or one.name in only) and one.name not in but)


def find(holder: type, name: str) -> Option:
    """Return one declaration of a dataclass."""
    return next(one for one in _declared(holder) if one.name == name)


def settle(made: Any) -> None:
    """Give the declared fields of a frozen dataclass their kinds; called when one is made.

    Raises:
        InputError: naming the one that cannot be right.
    """
    for one in _declared(made.__class__):
        object.__setattr__(made, one.name, one.read(getattr(made, one.name)))


def changed(made: _T, values: Mapping[str, Any], *, where: str) -> _T:
    """Return a dataclass of options with others in their place.

    Raises:
        InputError: a name that no option has, or a value that cannot be right.
    """
    check_names([replace(one, default=None) for one in options_of(made.__class__)], values, where=where)
    return replace(made, **values)  # type: ignore[type-var]  # options are dataclasses


def check_names(known: Iterable[Option], values: Mapping[str, Any], *, where: str) -> None:
    """Refuse values under a name that no option has, and missing ones that must be there.

    Args:
        known: the options.
        values: what was given, by name.
        where: what stands in the error.

    Raises:
        InputError: with the nearest names.
    """
    names = {one.name: one for one in known}
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            all_of_few = (
                say("Known are {names}.", names=sorted(names)) if 0 < len(names) <= FEW else say("Leave it out.")
            )
            cure = say("Did you mean: {names}?", names=near) if near else all_of_few
            raise InputError("There is no option “{name}”", name=_cut(name), where=where, cure=cure)
    for name, one in names.items():
        if one.default is REQUIRED and values.get(name) is None:
            what = say("The option “{name}” is missing", name=name)
            raise InputError(what, where=where, cure="Give it a value.", option=name)


def auto_or_number(text: str, name: str) -> AutoFloat:
    """Return a typed text as a number or as `AUTO`.

    Raises:
        InputError: it is neither.
    """
    if text.strip().lower() in (AUTO, ""):
        return AUTO
    try:
        return float(text)
    except ValueError as error:
        what = say("“{value}” is neither a number nor “auto”", value=_cut(text))
        raise InputError(what, where=name, cure="Give a number, or auto.") from error


def _shown(number: float) -> str:
    """Return a number as a person writes it."""
    return str(int(number)) if math.isfinite(number) and number == int(number) and abs(number) < 1e15 else f"{number:g}"


def _cut(value: Any) -> str:
    return str(value)[:60]

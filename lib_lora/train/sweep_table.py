"""Runs that differ in a few options: a small table of option values, read from text or JSON.

    dim: 4, 8, 16                     every value with every value of the other lines
    learning_rate: 1e-4, 3e-4

    dim=4 alpha=4                     or each line one run
    dim=16 alpha=8 network=loha

Values are parted by commas, or by ``|`` where a value holds commas itself. A line that begins with ``#`` is a remark.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lib_lora.errors import InputError
from lib_lora.formats.names import proposed_stem
from lib_lora.formats.privacy import last_name
from lib_lora.options import Option, check_names, options_of
from lib_lora.train.options import PLACES, TrainOptions, parse_argument, split_arguments

MOST = 64
"""Runs of one sweep at most: more is a slip of the pen, and a grid that nobody reads."""
WHERE = "sweep"
_KNOWN = {one.name: one for one in options_of(TrainOptions)}
_HEAD = re.compile(r"\s*([A-Za-z][\w-]*)\s*([:=：＝])")
_PAIR = re.compile(r"(?<![^\s,;、，])([A-Za-z][\w-]*)\s*[=＝]")

Values = Mapping[str, Any]


@dataclass(frozen=True)
class SweepTable:
    """The values of every run.

    Attributes:
        rows: for each run, in their order, the options that are its own.
        axes: option -> its values, where every value meets every other; empty where the runs were listed one by one.
    """

    rows: tuple[Values, ...]
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def product(cls, axes: Mapping[str, Sequence[Any]]) -> SweepTable:
        """Return every value with every other one; the last option changes fastest.

        Raises:
            InputError: an option is unknown or has no right value, a value stands there twice, or there are too many.
        """
        _check_known(axes)
        read: dict[str, tuple[Any, ...]] = {}
        for name, values in axes.items():
            if isinstance(values, str | Mapping) or not isinstance(values, Sequence) or not values:
                raise InputError("The values of an option are a list", where=name, cure="Write [4, 8, 16].")
            read[name] = tuple(_value(name, value) for value in values)
        _check_count(math.prod(map(len, read.values())) if read else 0)
        rows = tuple(dict(zip(read, each, strict=True)) for each in itertools.product(*read.values()))
        _check_differ(rows)
        return cls(rows, read)

    @classmethod
    def listed(cls, rows: Sequence[Any]) -> SweepTable:
        """Return runs that are given one by one.

        Raises:
            InputError: see `product`; or a run is no table of options.
        """
        _check_count(len(rows))
        made = []
        for row in rows:
            if not isinstance(row, Mapping) or not row:
                raise InputError(
                    "Each run is a table of options", where=WHERE, cure="Give the options of each run by name."
                )
            _check_known(row)
            made.append({name: _value(name, value) for name, value in row.items()})
        _check_differ(made)
        return cls(tuple(made))

    @classmethod
    def read(cls, lines: Iterable[str]) -> SweepTable:
        """Return what lines say, in the form that stands at the top of this file.

        Raises:
            InputError: a line is none, or see `product`.
        """
        axes: dict[str, list[Any]] = {}
        rows: list[Values] = []
        for line in (text.strip() for text in lines):
            if not line or line.startswith("#"):
                continue
            pairs = _pairs(line)
            if len(pairs) > 1:
                rows.append({name: _parsed(name, text) for name, text in pairs.items()})
                continue
            ((name, text),) = pairs.items()
            if name in axes:
                raise InputError("“{name}” stands there twice", name=name, where=WHERE, cure="Put its values together.")
            axes[name] = [_parsed(name, each) for each in _split(text)]
        if axes and rows:
            raise InputError(
                "Some lines list the values of one option, and others are one run each",
                where=WHERE,
                cure="Write all lines as dim: 4, 8, or all as dim=4 alpha=4.",
            )
        return cls.listed(rows) if rows else cls.product(axes)

    def with_places(self, whole: Callable[[str], str]) -> SweepTable:
        """Return it with every place on the disk as ``whole`` writes it: a sweep may go on from another folder."""

        def placed(name: str, value: Any) -> Any:
            return whole(value) if name in PLACES and value else value

        rows = tuple({name: placed(name, value) for name, value in row.items()} for row in self.rows)
        return SweepTable(rows, {name: tuple(placed(name, one) for one in each) for name, each in self.axes.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"axes": self.axes} if self.axes else {"rows": self.rows}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> SweepTable:
        """Return what `to_dict` wrote.

        Raises:
            InputError: it is none.
        """
        axes, rows = kept.get("axes"), kept.get("rows")
        return cls.product(axes) if isinstance(axes, Mapping) else cls.listed(rows if isinstance(rows, list) else [])


def run_names(sweep: str, table: SweepTable) -> tuple[str, ...]:
    """Return a name for each run that tells its values: ``krnk_dim8_learning_rate0.0001``."""
    names: list[str] = []
    for row in table.rows:
        parts = [f"{name}{shown(value)}" for name, value in row.items()]
        names.append(proposed_stem([sweep, *parts], taken=names))
    return tuple(names)


def values_text(row: Values) -> str:
    """Return the values of a run for people: ``dim 8, learning_rate 0.0001``."""
    return ", ".join(f"{name} {shown(value)}" for name, value in row.items())


def shown(value: Any) -> str:
    """Return a value as a person writes it; of a place on the disk its last name."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={shown(one)}" for name, one in value.items()) or "–"
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value)) or "–"
    if isinstance(value, str):
        return last_name(value) or "–"
    return str(value)


def _check_known(names: Collection[str]) -> None:
    if "name" in names:
        raise InputError(
            "The name is no value of a sweep: each run is named after its values", where=WHERE, cure="Leave it out."
        )
    optional = [replace(one, default=None) for one in _KNOWN.values()]  # each may be missing in a row
    check_names(optional, dict.fromkeys(names), where=WHERE)


def _check_count(count: int) -> None:
    if not count:
        raise InputError(
            "The sweep has no values", where=WHERE, cure="Write an option, a colon and its values: dim: 4, 8, 16"
        )
    if count > MOST:
        raise InputError(
            "The sweep would be {n} runs, and at most {most} are made",
            n=count,
            most=MOST,
            where=WHERE,
            cure="Give fewer values, or make several sweeps of it.",
        )


def _check_differ(rows: Sequence[Values]) -> None:
    for number, row in enumerate(rows):
        if row in rows[:number]:
            raise InputError(
                "Two runs of the sweep are the same: {values}",
                values=values_text(row),
                where=WHERE,
                cure="Give each value once.",
            )


def _pairs(line: str) -> dict[str, str]:
    """Return the options of a line with their texts: one before a colon, or several with ``=``."""
    head = _HEAD.match(line)
    if head is None:
        raise InputError(
            "“{line}” is no line of a sweep",
            line=line[:60],
            where=WHERE,
            cure="Write an option, a colon and its values: dim: 4, 8, 16",
        )
    first = _name(head[1])
    starts = [(first, head.start(), head.end())]
    if head[2] in "=＝":
        later = (found for found in _PAIR.finditer(line, head.end()) if _name(found[1]) in _KNOWN)
        starts += [(_name(found[1]), found.start(), found.end()) for found in later]
    ends = [start for _, start, _ in starts[1:]] + [len(line)]
    pairs: dict[str, str] = {}
    for (name, _, begin), end in zip(starts, ends, strict=True):
        if name in pairs:
            raise InputError("“{name}” stands there twice", name=name, where=WHERE, cure="Put its values together.")
        pairs[name] = line[begin:end].strip(" \t,;、，")
    _check_known(pairs)
    return pairs


def _name(typed: str) -> str:
    return typed.replace("-", "_").lower()


def _split(text: str) -> list[str]:
    """Return the values of a line: parted by ``|`` where there is one outside of brackets, else by commas."""
    parts: dict[str, list[str]] = {}
    for signs in ("|｜", ",、，"):
        depth, begun, found = 0, 0, []
        for place, letter in enumerate(text):
            depth += (letter in "([{") - (letter in ")]}")
            if letter in signs and depth <= 0:
                found.append(text[begun:place].strip())
                begun = place + 1
        parts[signs] = [*found, text[begun:].strip()]
        if found and signs[0] == "|":
            return parts[signs]
    return [part for part in parts[",、，"] if part]


def _parsed(name: str, text: str) -> Any:
    """Return a value that somebody typed."""
    one = _KNOWN[name]
    if one.kind is dict:
        return dict(parse_argument(part) for part in split_arguments(text))
    if one.kind is tuple:
        return (text,) if text else ()
    if one.kind is bool:
        text = {"on": "true", "off": "false", "yes": "true", "no": "false"}.get(text.lower(), text)
    return _checked(one, one.parse(text))


def _value(name: str, value: Any) -> Any:
    return _checked(_KNOWN[name], value)


def _checked(one: Option, value: Any) -> Any:
    read = one.read(value)
    return list(read) if isinstance(read, tuple) else read

"""What the program says: English that still knows its template and its values, so that it can be said again.

A sentence is made where it is said: ``say("There is no LoRA called “{name}”", name=name)``. It is a `str` and reads as
English everywhere; another language looks the template up and fills in the same values (`i18n/error_words.py`). A value
may be a sentence itself, an error, or a list of values. Behind the colon of a place stands

- what stands between the entries of a list: ``{reasons:; }``, else a comma;
- the two forms of a word that is counted: ``{n} {n:file|files}``;
- the form of a number, as in `str.format`: ``{loss:.4f}``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from string import Formatter
from typing import Any


class Sentence(str):
    """A text in English, with the template and the values that it is made of.

    Attributes:
        template: the sentence with named ``{places}``, in the form of `str.format`.
        values: what stands in the places: numbers, texts, sentences, lists of these.
    """

    template: str
    values: Mapping[str, Any]

    def __new__(cls, template: str, values: Mapping[str, Any], text: str | None = None) -> Sentence:
        """Fill in a template; ``text`` is the English of one that is read back and not to be trusted."""
        made = super().__new__(cls, filled(template, values) if text is None else text)
        made.template, made.values = template, values
        return made

    def __reduce__(self) -> tuple[type[Sentence], tuple[str, Mapping[str, Any], str]]:
        return Sentence, (self.template, self.values, str(self))


def say(template: str, /, **values: Any) -> Sentence:
    """Return a sentence; one that is a sentence already stays as it is.

    Raises:
        KeyError: a place has no value.
    """
    if isinstance(template, Sentence):
        return template
    return Sentence(template, {place: _value(values[place]) for place in places_of(template)})


def quoted(text: str) -> Sentence:
    """Return what others say, a system or a library, as a sentence without places; it may be known in a table."""
    return Sentence(text.replace("{", "{{").replace("}", "}}"), {}, text)


def reason_of(error: BaseException) -> Sentence:
    """Return what an error says in its own words: ours as they were made, the system's without number and path."""
    if error.args and isinstance(error.args[0], Sentence):
        return error.args[0]
    return quoted(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def places_of(template: str) -> tuple[str, ...]:
    """Return the names of a template's places, each once, in their order."""
    return tuple(dict.fromkeys(place for _, place, _, _ in _parsed(template) if place is not None))


def filled(template: str, values: Mapping[str, Any], said: Callable[[Sentence], str] = str) -> str:
    """Return a template with its values, the sentences among them as ``said`` says them.

    Raises:
        KeyError: a place has no value; TypeError, ValueError: one that does not fit its place.
    """
    filler, found = _Filler(said), []
    for literal, place, form, conversion in _parsed(template):
        found.append(literal)
        if place is not None:
            found.append(filler.format_field(filler.convert_field(values[place], conversion), form or ""))
    return "".join(found)


@lru_cache(maxsize=2048)
def _parsed(template: str) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
    """Return a template's pieces, as `Formatter.parse` gives them; a program has few, and says some in every step."""
    return tuple(Formatter().parse(template))


def packed(text: str) -> str | dict[str, Any]:
    """Return a text as JSON can hold it; of a sentence its English, its template and its values."""
    if not isinstance(text, Sentence):
        return text
    values = {name: _packed(value) for name, value in text.values.items()}
    return {"text": str(text), "template": text.template, "values": values}


def unpacked(row: object) -> str | None:
    """Return the text that `packed` was given; None where there is none."""
    if isinstance(row, str):
        return row
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        return None
    text, template, values = row["text"], row.get("template"), row.get("values")
    if not isinstance(template, str) or not isinstance(values, dict):
        return text
    return Sentence(template, {name: _unpacked(value) for name, value in values.items()}, text)


class _Filler(Formatter):
    def __init__(self, said: Callable[[Sentence], str]) -> None:
        self._said = said

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Sentence):
            return self._said(value)
        if isinstance(value, list):
            return (format_spec or ", ").join(self.format_field(each, "") for each in value)
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if value == 1 else many
        return format(value, format_spec)


def _value(value: Any) -> Any:
    """Return a value in a form that can be kept: errors and paths as what they say, whatever is a list as one."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(said := getattr(value, "sentence", None), Sentence):
        return said
    if isinstance(value, BaseException):
        return reason_of(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Iterable):
        return [_value(each) for each in value]
    return str(value)


def _packed(value: Any) -> Any:
    if isinstance(value, list):
        return [_packed(each) for each in value]
    return packed(value) if isinstance(value, Sentence) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(each) for each in value]
    return unpacked(value) if isinstance(value, dict) else value

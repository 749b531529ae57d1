"""What settings of sd-scripts come to, one after another: options of ours, and what is said of the others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.options import find
from lib_lora.sentences import Sentence, say
from lib_lora.train.options import TrainOptions, parse_argument, split_arguments
from lib_lora.train.sd_scripts import gui


@dataclass
class Imported:
    """What a file of settings came to.

    Attributes:
        values: options of ours; a training from them repeats that program's rates and defaults.
        notes: what was not understood, and what could not be taken over as it is; one sentence each.
        not_needed: settings that are about how that program computes.
    """

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[Sentence] = field(default_factory=list)
    not_needed: list[str] = field(default_factory=list)

    def take(self, option: str, value: Any, name: str) -> None:
        """Take over the value of the setting ``name``, or note why not."""
        known = find(TrainOptions, option)
        if known.kind is str and isinstance(value, int | float | list | tuple):  # block numbers, taken apart
            value = ",".join(f"{one:g}" for one in value) if isinstance(value, list | tuple) else f"{value:g}"
        if known.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if known.kind is bool and value in (0, 1):
            value = bool(value)
        if option in ("dim", "conv_dim") and self.values["network"] == "lokr" and _is_above(value, known.high):
            self.notes.append(
                say(
                    "{name} = {value} is more than a LoKr can have: {most} is taken",
                    name=name,
                    value=value,
                    most=known.high,
                )
            )
            value = int(known.high)
        try:
            self.values[option] = known.parse(value)
        except AtelierError as error:
            self.left_out(name, value, error)

    def not_understood(self, name: str, value: Any) -> None:
        """Note a setting that means nothing here."""
        self.notes.append(say("not understood: {name} = {value}", name=name, value=str(value)[:80]))

    def left_out(self, name: str, value: Any, error: AtelierError) -> None:
        """Note a value that cannot be taken over."""
        what = say("{name} = {value} is left out: {error}", name=name, value=str(value)[:80], error=error.what)
        self.notes.append(what)


def is_asked(value: Any) -> bool:
    """Return whether a value asks for anything; a switch that is off does not."""
    return not (value is None or value is False or value == [] or value in gui.EMPTY)


def take_switch(rest: dict[str, Any], name: str) -> bool:
    """Return whether a switch is on, and take it away."""
    return rest.pop(name, False) not in (False, 0, "0")


def arguments_in(given: Any, made: Imported) -> dict[str, Any]:
    """Return ``name=value`` texts, in a list or one behind the other, as values; quotes are the command line's."""
    found: dict[str, Any] = {}
    texts = given if isinstance(given, list | tuple) else split_arguments(str(given).replace('"', ""))
    for text in texts:
        try:
            name, value = parse_argument(str(text).replace('"', ""))
        except AtelierError as error:
            made.notes.append(error.what)
            continue
        found[name] = value
    return found


def _is_above(value: Any, most: float) -> bool:
    with suppress(TypeError, ValueError):
        return float(value) > most
    return False

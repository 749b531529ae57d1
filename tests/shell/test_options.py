"""Options: what is declared once is read alike from Python, JSON, a terminal and a field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from lib_lora.errors import InputError
from lib_lora.options import REQUIRED, AutoFloat, check_names, find, option, options_of, settle


@dataclass(frozen=True)
class Dish:
    name: str = option(REQUIRED, "Name", "What it is called.")
    salt: float = option(0.5, "Salt", "How much.", low=0, high=2)
    plates: int = option(2, "Plates", "How many.", low=1, high=9)
    heat: AutoFloat = option("auto", "Heat", "How hot.", low=10, high=300)
    hot: bool = option(False, "Hot", "Whether it is.")
    kind: str = option("soup", "Kind", "Which.", choices=("soup", "Stew"))
    with_: tuple[str, ...] = option((), "", "Beside it.")
    spices: Mapping[str, Any] = option({}, "", "Table.")
    weight: int | None = option(None, "", "In grams.", low=1, high=5000)
    hidden: int = 7

    def __post_init__(self) -> None:
        settle(self)


def test_what_a_class_declares_comes_in_its_order_with_kinds() -> None:
    found = options_of(Dish)
    assert [one.name for one in found] == [
        "name",
        "salt",
        "plates",
        "heat",
        "hot",
        "kind",
        "with_",
        "spices",
        "weight",
    ]
    assert [one.kind for one in found][:7] == [str, float, int, float, bool, str, tuple]
    assert find(Dish, "heat").auto
    assert find(Dish, "name").default is REQUIRED
    assert [one.name for one in options_of(Dish, only=("salt", "hot"))] == ["salt", "hot"]


def test_values_take_their_kind_when_an_object_is_made() -> None:
    made = Dish("x", salt=1, plates=3.0, heat="AUTO", kind="STEW", with_="bread")
    assert (made.salt, made.plates, made.heat, made.kind, made.with_) == (1.0, 3, "auto", "Stew", ("bread",))
    assert (type(made.salt), type(made.plates)) == (float, int)


@pytest.mark.parametrize(
    ("given", "where", "said"),
    [
        ({"salt": 3}, "salt", "3 is out of range"),
        ({"salt": float("nan")}, "salt", "no number"),
        ({"salt": "1"}, "salt", "no number"),
        ({"salt": True}, "salt", "no number"),
        ({"plates": 2.5}, "plates", "no whole number"),
        ({"plates": 10**400}, "plates", "no number"),
        ({"plates": None}, "plates", "no number"),
        ({"heat": "warm"}, "heat", "neither a number nor"),
        ({"heat": 5}, "heat", "out of range"),
        ({"hot": "yes"}, "hot", "neither true nor false"),
        ({"kind": "cake"}, "kind", "unknown"),
        ({"name": 3}, "name", "no text"),
        ({"with_": 3}, "with_", "list of texts"),
        ({"weight": 0}, "weight", "out of range"),
    ],
)
def test_what_cannot_be_right_names_the_option(given: dict, where: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as told:
        Dish(**{"name": "x", **given})
    assert told.value.where == where


def test_a_bound_is_said_as_a_person_writes_it() -> None:
    with pytest.raises(InputError) as told:
        Dish("x", weight=6000)
    assert told.value.cure == "Give a number from 1 to 5000."


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("plates", "３", 3),
        ("plates", "3.0", 3),
        ("salt", "１.５", 1.5),
        ("salt", "1", 1.0),
        ("heat", "20", 20.0),
        ("heat", "auto", "auto"),
        ("hot", "true", True),
        ("hot", "0", False),
        ("kind", "stew", "Stew"),
    ],
)
def test_what_is_typed_is_read(name: str, text: str, value: object) -> None:
    assert find(Dish, name).parse(text) == value


def test_names_that_are_not_there_or_missing() -> None:
    known = options_of(Dish)
    with pytest.raises(InputError, match="Did you mean: salt"):
        check_names(known, {"name": "x", "slat": 1}, where="here")
    with pytest.raises(InputError, match="Known are heat, hot"):
        check_names(known, {"name": "x", "zzz": 1}, where="here")
    with pytest.raises(InputError, match="“name” is missing"):
        check_names(known, {"salt": 1}, where="here")

"""The terminal's flags, made from what is declared: one explanation, one default and one range for every door."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.options import OVERWRITE, REQUIRED, Option

if TYPE_CHECKING:
    from lib_lora.merge.rank_rule import RankRule

METAVARS = {int: "N", float: "X", str: "TEXT", tuple: "TEXT", dict: "NAME=VALUE"}


def add_flags(
    parser: Any, options: Iterable[Option], *, also: Mapping[str, str] | None = None, needed: bool = True
) -> None:
    """Add a flag for every option.

    What was not given is None, so that the declaration alone knows the default; `given` reads the rest.

    Args:
        parser: or a group of one.
        options: what is declared.
        also: a second spelling of some flags.
        needed: whether options without a default must be given here.
    """
    for one in options:
        names = ["--" + one.name.replace("_", "-"), *filter(None, [(also or {}).get(one.name)])]
        more: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if one.kind is bool else {}
        if one.kind is not bool:
            more["metavar"] = one.form or "|".join(one.choices) or METAVARS[one.kind] + ("|auto" if one.auto else "")
        if one.kind in (tuple, dict):
            more["nargs"] = "+"
        required = needed and one.default is REQUIRED
        parser.add_argument(*names, dest=one.name, default=None, required=required, help=explained(one), **more)


def add_file(command: argparse.ArgumentParser, *, out: bool) -> None:
    """Add the file that a command is about; with ``out`` the one that it writes."""
    command.add_argument("file", type=Path, metavar="FILE", help="LoRA file")
    if out:
        add_out(command)


def add_out(command: argparse.ArgumentParser) -> None:
    """Add the file that a command writes, and whether it may replace one."""
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    add_flags(command, (OVERWRITE,))


def add_rules(command: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add the rules that say how many ranks stay, of which one can be given, and what can be said beside one."""
    from lib_lora.merge.rank_rule import LIMITS, RULES

    add_flags(command.add_mutually_exclusive_group(required=required), RULES.values())
    add_flags(command, LIMITS, also={"cap": "--max-rank"})


def given_rule(namespace: argparse.Namespace) -> RankRule | None:
    """Return the rule that was typed; None without one.

    Raises:
        InputError: it cannot be right.
    """
    from lib_lora.merge.rank_rule import LIMITS, RULES, rule_of

    return rule_of(given(namespace, RULES.values()), given(namespace, LIMITS))


def explained(one: Option) -> str:
    """Return an option's explanation with its bounds and its default, as argparse takes it."""
    plain = one.default is REQUIRED or one.default in (None, "", (), {}) or one.kind is bool and not one.default
    return (one.help + ("" if plain else f" [{one.default}]")).replace("%", "%%")


def given(namespace: argparse.Namespace, options: Iterable[Option]) -> dict[str, Any]:
    """Return the options that were typed, each in its kind; tables stay the texts that they were typed as.

    Raises:
        InputError: one cannot be read, or cannot be right.
    """
    typed = [(one, getattr(namespace, one.name)) for one in options]
    return {one.name: value if one.kind is dict else one.parse(value) for one, value in typed if value is not None}

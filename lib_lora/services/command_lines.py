"""The command that makes a file again on a terminal, from the order in its metadata."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_lora.blocks.tokens import format_number
from lib_lora.formats.names import ENDING
from lib_lora.merge.provenance import INTO, MERGE, SPLIT, Order
from lib_lora.process import command as program
from lib_lora.services.lineage import MISSING, OTHER, Files
from lib_lora.services.repeated import again


def command_line(order: Order, child: Path, files: Files, *, folders: bool = True) -> str:
    """Return the command that makes a file again on a terminal; "" where what the file says cannot be carried out.

    Where a parent's name is another file's, it is the one that looks at hashes: others would take that file.

    Args:
        order: what made it.
        child: the file.
        files: where its parents are looked for; one that is not there is called by its name.
        folders: whether places are told, or names alone.
    """
    known = [files.find(parent, child) for parent in order.parents]
    found = [path or Path(f"{parent.name}{ENDING}") for parent, (path, _) in zip(order.parents, known, strict=True)]
    mistaken = any(
        state == OTHER or state == MISSING and path.stem == child.stem
        for path, (_, state) in zip(found, known, strict=True)
    )
    file, *paths = [path if folders else Path(path.name) for path in (child, *found)]
    out = ["--out", str(file.with_name(f"{again(child)}{ENDING}"))]
    # split would write the other parts, too; into-checkpoint takes no weights by model; a size depends on the name
    if mistaken or order.command in (SPLIT, INTO) or "name" in order.options:
        return _line(["repeat", str(file), *out])
    try:
        words = [*_words(order, paths), *out]
    except (TypeError, ValueError):  # options that no version of ours wrote
        return ""
    base = child.with_name(order.base) if order.base else child  # a model has no hash here: only its name is known
    told = str(base) if folders and base.is_file() else order.base
    return _line([*words, *(["--base", told] if order.base else [])])


def _line(words: Sequence[str]) -> str:
    return f"{program()} {shlex.join(words)}"


def _words(order: Order, paths: Sequence[Path]) -> list[str]:
    options = dict(order.options)
    if order.command == MERGE:
        return _merge_words(order, paths)
    rule = options.pop("rule", None)
    return [order.command, *map(str, paths), *_rule_words(rule), *_option_words(options)]


def _merge_words(order: Order, paths: Sequence[Path]) -> list[str]:
    options = dict(order.options)
    rule, method = options.pop("rule", None), options.pop("method", None)
    rows = [parent.row for parent in order.parents]
    rest = [*_rule_words(rule), *_option_words(method or {}), *_option_words(options)]
    if order.verb == MERGE:
        return [MERGE, *(_row_word(path, row) for path, row in zip(paths, rows, strict=True)), *rest]
    row = {"weights" if name == "blocks" else name: value for name, value in rows[0].items()}
    return [order.verb, str(paths[0]), *_option_words(row), *rest]


def _row_word(path: Path, row: Mapping[str, Any]) -> str:
    """Return a row as a tag without brackets; strengths that agree stand once."""
    strength, te, unet = (float(row.get(name, 1.0)) for name in ("strength", "te", "unet"))
    parts = [format_number(strength)] if te == unet == 1 else []
    parts = parts or [f"te={format_number(strength * te)}", f"unet={format_number(strength * unet)}"]
    parts += [f"lbw={row['blocks']}"] if "blocks" in row else []
    parts += [f"other={format_number(float(row['other']))}"] if row.get("other") is not None else []
    return ":".join([str(path), *parts])


def _rule_words(rule: Any) -> list[str]:
    if not isinstance(rule, dict):
        return []
    flags = {str(rule.get("kind")): rule.get("value"), "max_rank": rule.get("cap"), "parts": rule.get("parts")}
    return _option_words({name: value for name, value in flags.items() if value is not None})


def _option_words(options: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", *map(str, value)]
        else:
            words.append(f"--{flag}={_value(value)}")
    return words


def _value(value: Any) -> str:
    return format_number(float(value)) if isinstance(value, int | float) else str(value)

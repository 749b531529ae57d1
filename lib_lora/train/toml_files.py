"""TOML read where this Python can, and written as plainly as a person would."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError


def toml_reader(path: Path) -> Callable[[str], dict[str, Any]]:
    """Return the reader of TOML texts, which Python brings from 3.11 on and a WebUI's Python 3.10 may lack."""
    try:
        from tomllib import loads
    except ImportError:
        try:
            from tomli import loads
        except ImportError as error:
            raise InputError(
                "This Python cannot read TOML: it is older than 3.11 and has no package tomli",
                where=str(path),
                cure="Write the options as JSON.",
            ) from error
    return loads


def toml_text(values: Mapping[str, Any], *, under: str = "") -> str:
    """Return a TOML document of texts, numbers, truths, lists of them, tables, and lists of tables."""
    plain, tables = [], []
    for name, value in values.items():
        if isinstance(value, Mapping):
            tables.append(f"[{under}{name}]\n{toml_text(value, under=f'{under}{name}.')}")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            head = f"{under}{name}"
            tables += [f"[[{head}]]\n{toml_text(one, under=f'{head}.')}" for one in value]
        else:
            plain.append(f"{name} = {_value(value)}")
    return "\n".join(["\n".join([*plain, ""]) if plain else "", *tables]).lstrip("\n")


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # TOML's basic strings are JSON's, but for this

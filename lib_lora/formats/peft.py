"""PEFT's options: how strongly its modules act, from a file's header or from ``adapter_config.json`` beside it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_lora.errors import FileError
from lib_lora.formats.header import open_regular
from lib_lora.formats.patterns import ends_with, is_whole
from lib_lora.sentences import say

HEADER_KEY = "lora_adapter_metadata"
"""Where diffusers puts the options of each component into a file's header."""

CONFIG_NAME = "adapter_config.json"
_CONFIG_LIMIT = 2**20
_PLAIN = re.compile(r"\^?[\w.-]{1,200}\$?")
_SECONDS = 10.0
"""How long a file's patterns may take in all."""
_SECOND_ENCODER = "CLIPTextModelWithProjection"


@dataclass(frozen=True)
class PeftOptions:
    """Options by name, with a component's name in front where a file holds several ("unet.lora_alpha").

    Attributes:
        table: the options.
        where: the file they come from, for errors.
    """

    table: Mapping[str, Any]
    where: str
    _spent: list[float] = field(default_factory=lambda: [0.0], repr=False, compare=False)

    @property
    def second_encoder(self) -> bool:
        """Whether the options are of a model of the class that is SDXL's second text encoder."""
        mapping = self.table.get("auto_mapping")
        return isinstance(mapping, Mapping) and mapping.get("base_model_class") == _SECOND_ENCODER

    def rank(self, path: str) -> int | None:
        """Return the rank that a module has by the options, or None where they do not say."""
        rank = _number(self._value(path, "r", "rank_pattern"))
        return int(rank) if rank is not None and rank > 0 else None

    def scale(self, path: str, rank: int) -> float | None:
        """Return what a module's change is multiplied by: alpha/rank, with ``use_rslora`` alpha/√rank.

        The latter is from Kalajdzievski 2023, arXiv:2312.03732. None where the options say no alpha that can be used;
        a negative one is, as by PEFT.

        Args:
            path: the module's dotted path, with its component's name where the file has several.
            rank: of the module's tensors.
        """
        alpha = _number(self.alpha(path))
        if not alpha:
            return None
        return alpha / math.sqrt(rank) if self._flag(path, "use_rslora") else alpha / rank

    def odd(self) -> list[str]:
        """Return what in the options is not as PEFT writes it, in sentences for people."""
        notes: list[str] = []
        for name, value in self.table.items():
            inner = name.rpartition(".")[2]
            if inner in ("alpha_pattern", "rank_pattern"):
                if not isinstance(value, Mapping | None):
                    notes.append(
                        say("{name} in the LoRA's options is no table of patterns, so it does not count.", name=name)
                    )
                values = value.items() if isinstance(value, Mapping) and inner == "alpha_pattern" else ()
                odd = [(pattern, one) for pattern, one in values if not _number(one)]
                for pattern, one in odd[:1]:
                    notes.append(_unusable(f"{name}[{pattern[:60]}]", one))
            elif inner in ("lora_alpha", "alpha") and value is not None:
                number = _number(value)
                if not number:
                    notes.append(_unusable(name, value))
                elif number < 0:
                    notes.append(
                        say(
                            "{name} in the LoRA's options is {value:g}, so the LoRA acts in reverse.",
                            name=name,
                            value=number,
                        )
                    )
        return notes

    def alpha(self, path: str) -> object:
        """Return the alpha that the options say of a module, as it stands there, or None."""
        alpha = self._value(path, "lora_alpha", "alpha_pattern")
        return self._value(path, "alpha", "alpha_pattern") if alpha is None else alpha

    def setting(self, path: str, name: str) -> object:
        """Return another option of a module as it stands there, or None."""
        found = (self.table.get(f"{prefix}{name}") for prefix, _ in _readings(path))
        return next((value for value in found if value is not None), None)

    def names(self, path: str, name: str) -> bool | None:
        """Return whether an option names a module, by ends of paths or one expression; None where there is no option.

        Raises:
            FileError: the expression cannot be used.
        """
        for prefix, module in _readings(path):
            said = self.table.get(f"{prefix}{name}")
            if isinstance(said, list):
                return any(module.endswith(str(end)) for end in said)
            if isinstance(said, str):
                try:
                    return is_whole(said, module)
                except ValueError as error:
                    raise self._refused(said) from error
        return None

    def _flag(self, path: str, name: str) -> bool:
        return any(self.table.get(f"{prefix}{name}") is True for prefix, _ in _readings(path))

    def _value(self, path: str, name: str, pattern_name: str) -> object:
        """Return an option of a module as it stands there: the first pattern that fits counts, else the common one."""
        for prefix, module in _readings(path):
            value = self.table.get(f"{prefix}{name}")
            patterns = self.table.get(f"{prefix}{pattern_name}")
            if value is None:
                continue
            for pattern, special in patterns.items() if isinstance(patterns, Mapping) else ():
                if self._fits(str(pattern), module) or self._fits(str(pattern), path):
                    return special
            return value
        return None

    def _fits(self, pattern: str, module: str) -> bool:
        """Whether PEFT takes a pattern for a module: a regular expression that its path ends with, after a dot."""
        if _PLAIN.fullmatch(pattern):  # most are: names, in which a dot is any character
            return _compiled(pattern).match(module) is not None
        begun = time.monotonic()
        try:
            return ends_with(pattern, module)
        except ValueError as error:
            raise self._refused(pattern) from error
        finally:
            self._spent[0] += time.monotonic() - begun
            if self._spent[0] > _SECONDS:
                raise self._refused(pattern)

    def _refused(self, pattern: str) -> FileError:
        cure = say("Get it again, or take the options away: without them the LoRA acts with alpha = rank.")
        return FileError(
            "The LoRA's options have a pattern that cannot be used: {pattern}",
            pattern=pattern[:60],
            where=self.where,
            cure=cure,
        )


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(.*\.)?({pattern})$")


def _number(value: object) -> float | None:
    """Return a finite number, which may be written as text, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _unusable(name: str, value: object) -> str:
    text = json.dumps(value)[:40]
    return say(
        "{name} in the LoRA's options is {value}, which cannot be used; alpha is taken as the rank (scale 1).",
        name=name,
        value=text,
    )


def _readings(path: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return a path as (component's prefix, module) and as a module of the only component."""
    root, _, inner = path.partition(".")
    return (f"{root}.", inner), ("", path)


def options_in_header(metadata: Mapping[str, str], *, where: str) -> PeftOptions | None:
    """Return the options in a file's header, or None where there are none.

    Raises:
        FileError: they are broken.
    """
    text = metadata.get(HEADER_KEY)
    if text is None:
        return None
    table = _table(text)
    if table is None:
        raise FileError("The LoRA's options in the header are broken", where=where, cure="Get it again.")
    return PeftOptions(table, where)


def options_beside(path: Path) -> PeftOptions | None:
    """Return the options in ``adapter_config.json`` beside a file, or None where there is no such file.

    Raises:
        FileError: it is broken.
    """
    config = path.with_name(CONFIG_NAME)
    if not config.is_file():
        return None
    with open_regular(config) as file:
        raw = file.read(_CONFIG_LIMIT + 1)
    table = _table(raw.decode("utf-8", errors="replace")) if len(raw) <= _CONFIG_LIMIT else None
    if table is None:
        cure = say("Get it again, or take the options away: without them the LoRA acts with alpha = rank.")
        raise FileError("The LoRA's options beside it are broken", where=str(config), cure=cure)
    return PeftOptions(table, str(config))


def _table(text: str) -> dict[str, Any] | None:
    try:
        table = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None

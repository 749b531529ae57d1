"""PEFT's options: how strongly its modules act, from a file's header or from ``adapter_config.json`` beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.errors import FileError
from lib_lora.formats.header import open_regular

HEADER_KEY = "lora_adapter_metadata"
"""Where diffusers puts the options of each component into a file's header."""

CONFIG_NAME = "adapter_config.json"
_CONFIG_LIMIT = 2**20
_PATTERN_LIMIT = 300
_REPEATS = 4
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

    @property
    def second_encoder(self) -> bool:
        """Whether the options are of a model of the class that is SDXL's second text encoder."""
        mapping = self.table.get("auto_mapping")
        return isinstance(mapping, Mapping) and mapping.get("base_model_class") == _SECOND_ENCODER

    def rank(self, path: str) -> int | None:
        """Return the rank that a module has by the options, or None where they do not say."""
        rank = self._value(path, "r", "rank_pattern")
        return int(rank) if rank is not None else None

    def scale(self, path: str, rank: int) -> float | None:
        """Return what a module's change is multiplied by: alpha/rank, with ``use_rslora`` alpha/√rank.

        The latter is from Kalajdzievski 2023, arXiv:2312.03732. None where the options say no alpha.

        Args:
            path: the module's dotted path, with its component's name where the file has several.
            rank: of the module's tensors.
        """
        alpha = self._value(path, "lora_alpha", "alpha_pattern")
        alpha = self._value(path, "alpha", "alpha_pattern") if alpha is None else alpha
        if alpha is None:
            return None
        return alpha / math.sqrt(rank) if self._flag(path, "use_rslora") else alpha / rank

    def _flag(self, path: str, name: str) -> bool:
        return any(self.table.get(f"{prefix}{name}") is True for prefix, _ in _readings(path))

    def _value(self, path: str, name: str, pattern_name: str) -> float | None:
        """Return an option of a module: the first pattern that fits counts, else the common value."""
        for prefix, module in _readings(path):
            value = self.table.get(f"{prefix}{name}")
            patterns = self.table.get(f"{prefix}{pattern_name}")
            for pattern, special in patterns.items() if isinstance(patterns, Mapping) and value is not None else ():
                if self._fits(str(pattern), module) or self._fits(str(pattern), path):
                    value = special
                    break
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
                return float(value)
        return None

    def _fits(self, pattern: str, module: str) -> bool:
        """Whether PEFT takes a pattern for a module: a regular expression that its path ends with, after a dot."""
        repeats = len(re.findall(r"[*+]|\{\d*,", pattern))
        if len(pattern) > _PATTERN_LIMIT or repeats > _REPEATS or re.search(r"\)[*+{]", pattern):
            raise self._refused(pattern)
        try:
            return re.match(rf"(.*\.)?({pattern})$", module) is not None
        except re.error as error:
            raise self._refused(pattern) from error

    def _refused(self, pattern: str) -> FileError:
        cure = "Get it again, or take the options away: without them the LoRA acts with alpha = rank."
        return FileError(
            f"The LoRA's options have a pattern that cannot be used: {pattern[:60]}", where=self.where, cure=cure
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
        cure = "Get it again, or take the options away: without them the LoRA acts with alpha = rank."
        raise FileError("The LoRA's options beside it are broken", where=str(config), cure=cure)
    return PeftOptions(table, str(config))


def _table(text: str) -> dict[str, Any] | None:
    try:
        table = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None

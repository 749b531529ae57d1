"""A person's own presets as numbers of a training: a run keeps the numbers, for the file may change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lib_lora.blocks.presets import Preset, PresetFile
from lib_lora.blocks.tokens import format_number
from lib_lora.errors import InputError
from lib_lora.host.base import Host
from lib_lora.train.block_numbers import is_name
from lib_lora.train.options import TrainOptions

RATES = "block_lr_weight"
BY_BLOCK = (RATES, "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
"""Options that hold a number for each block."""


def with_presets(options: TrainOptions, host: Host) -> TrainOptions:
    """Return the options with numbers in place of the names of presets, as the host's own file has them.

    A shipped preset of rates keeps its name, unless the person's file says something else under it.

    Raises:
        InputError: no such preset, or one that holds R, U or X.
    """
    family = host.model.family
    named = {name: getattr(options, name) for name in BY_BLOCK}
    rows: dict[str, Any] = {
        name: _row(text, name, host.presets, family) for name, text in named.items() if is_name(text)
    }
    kept = {name: row for name, row in rows.items() if name != RATES or row != _shipped(named[name], family)}
    return replace(options, **kept) if kept else options


def _row(text: str, where: str, presets: PresetFile, family: str) -> str:
    preset = presets.vector(text.strip(), family)
    if any(token.kind != "number" for token in preset.tokens):
        raise InputError("A number of a training cannot be R, U or X", where=where, cure="Write numbers.")
    return _text(preset)


def _text(preset: Preset) -> str:
    return ",".join(format_number(token.number) for token in preset.tokens)


def _shipped(text: str, family: str) -> str:
    """Return what a name means among the shipped presets; nothing where it is none of them."""
    try:
        return _text(PresetFile.shipped().vector(text.strip(), family))
    except InputError:
        return ""

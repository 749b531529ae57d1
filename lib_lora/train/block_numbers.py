"""Numbers by block as a training takes them: learning rates, ranks and alphas, in sd-scripts' order or block weights'.

sd-scripts counts SD1's and SD2's UNet as 12 blocks down, 1 in the middle and 12 up, SDXL's as 9, 3 and 9, where each
part of the middle has a number of its own; for ranks SDXL has one more at either end, for layers outside of all blocks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lib_lora.blocks.block_list import parse_block_list
from lib_lora.blocks.layouts import OTHER, full_layout, lengths_of
from lib_lora.blocks.lr_weights import MIDDLE, fitted, read_row, refuse_negative, sd_scripts_counts
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tokens import format_number, read_number
from lib_lora.blocks.typed import half_width
from lib_lora.blocks.weights import BlockWeights, fit, unnamed_blocks
from lib_lora.errors import InputError
from lib_lora.formats.keys import block_of_key
from lib_lora.sentences import Sentence, say

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions

_PART_OF_MIDDLE = re.compile(r"_(?:middle_block_(\d)|mid_block_(resnets|attentions)_(\d))(?:_|$)")


@dataclass(frozen=True)
class BlockNumbers:
    """A number for each block of a family; ``M00.0`` to ``M00.2`` where the parts of the middle have their own.

    Attributes:
        table: place to number; what is not there has ``default``.
        default: the number of everything else.
        notes: what was cut, filled in or left out, in sentences for people.
    """

    table: Mapping[str, float] = field(default_factory=dict)
    default: float = 1.0
    notes: tuple[str, ...] = ()

    def of(self, key: str, family: str) -> float:
        """Return the number of a module."""
        block = block_of_key(key, family)
        if block == MIDDLE:
            found = _PART_OF_MIDDLE.search(key)
            part = found and (found[1] or str(1 if found[2] == "attentions" else 2 * int(found[3])))
            return self.table.get(f"{MIDDLE}.{part}", self.table.get(MIDDLE, self.default))
        return self.table.get(block, self.default)


def rates_of(options: TrainOptions, family: str) -> BlockNumbers:
    """Return the factor on the learning rate of each block; BASE is the text encoder's.

    Raises:
        InputError: no such preset, or numbers that do not fit the family.
    """
    if options.block_lr_weight:
        found = _as_block_weights(options.block_lr_weight, family)
    elif options.down_lr_weight or options.mid_lr_weight or options.up_lr_weight:
        found = _as_sd_scripts(options, family)
    else:
        return BlockNumbers()
    least = options.block_lr_zero_threshold
    return BlockNumbers({name: n if n > least else 0.0 for name, n in found.table.items()}, notes=found.notes)


def chosen_blocks(options: TrainOptions, family: str) -> frozenset[str] | None:
    """Return the blocks that are trained by name; None: all.

    Raises:
        PositionError: pointing at what cannot be read.
    """
    groups = parse_block_list(options.train_blocks, full_layout(family))
    return frozenset(name for group in groups for name in group) if groups else None


def _as_block_weights(text: str, family: str) -> BlockNumbers:
    preset = PresetFile.shipped().vector(text, family)
    if any(token.kind != "number" for token in preset.tokens):
        raise InputError("A learning rate cannot be R, U or X", where="block_lr_weight", cure="Write numbers.")
    given = preset.weights()
    weights = fit(given, family)
    refuse_negative(weights.values, "block_lr_weight")
    left = unnamed_blocks(given.layout, family)
    note = say("blocks that the learning rates do not name, and that are not trained: {names}", names=left)
    return BlockNumbers(weights.as_dict(), notes=(note,) if left else ())


def _as_sd_scripts(options: TrainOptions, family: str) -> BlockNumbers:
    side, middle = sd_scripts_counts(family)
    table: dict[str, float] = {}
    notes: list[Sentence] = []
    for name, block in (("down_lr_weight", "IN{:02d}"), ("up_lr_weight", "OUT{:02d}")):
        values = read_row(getattr(options, name), name, count=side)
        table |= {block.format(n): value for n, value in enumerate(fitted(values, side, name, notes))}
    values = read_row(options.mid_lr_weight, "mid_lr_weight", count=1)
    if len(values) == 1 and not options.as_sd_scripts:  # there the other two parts of SDXL's middle would get 1
        table[MIDDLE] = values[0]
    else:
        parts = fitted(values, middle, "mid_lr_weight", notes)
        table |= {f"{MIDDLE}.{n}": value for n, value in enumerate(parts)} if middle > 1 else {MIDDLE: parts[0]}
    return BlockNumbers(table, notes=tuple(notes))


def sizes_of(text: str, name: str, default: float, family: str) -> BlockNumbers:
    """Return a rank or an alpha for each block.

    Args:
        text: as many numbers as sd-scripts takes, or as block weights of the family have; empty: the default for all.
        name: the option, for the error.
        default: what everything else has.
        family: of the model.

    Raises:
        InputError: another count.
    """
    if not text.strip():
        return BlockNumbers(default=default)
    values = read_list(text, name)
    places = _places(family)
    if len(values) == len(places):
        return BlockNumbers(dict(zip(places, values, strict=True)), default)
    if len(values) in lengths_of(family):
        return BlockNumbers(BlockWeights.parse(text, family).as_dict(), default)
    raise InputError(
        "{n} numbers fit no model of family {family}",
        n=len(values),
        family=family,
        where=name,
        cure=say("Give {counts: or } numbers.", counts=[*lengths_of(family), len(places)]),
    )


def is_name(text: str) -> bool:
    """Whether numbers by block are given by a preset's name, which a run's options have as numbers before it starts."""
    typed = half_width(text).strip()
    return bool(typed) and "," not in typed and read_number(typed) is None


def read_list(text: str, name: str) -> list[float]:
    """Return the numbers of a list.

    Raises:
        InputError: an item is no number, or below 0.
    """
    values = [read_number(item.strip()) for item in half_width(text).split(",")]
    bad = [n for n, value in enumerate(values, start=1) if value is None or not math.isfinite(value)]
    if bad:
        raise InputError(
            "Number {n} of the list cannot be read", n=bad[0], where=name, cure="Write numbers separated by commas."
        )
    found = [float(value) for value in values if value is not None]
    refuse_negative(found, name)
    return found


def _places(family: str) -> tuple[str, ...]:
    """Return what the numbers of sd-scripts' block_dims stand for, in their order."""
    side, middle = sd_scripts_counts(family)
    parts = [f"{MIDDLE}.{n}" for n in range(middle)] if middle > 1 else [MIDDLE]
    inner = (*(f"IN{n:02d}" for n in range(side)), *parts, *(f"OUT{n:02d}" for n in range(side)))
    return (OTHER, *inner, "out") if middle > 1 else inner


def recorded(options: TrainOptions, family: str) -> dict[str, str]:
    """Return what of all this stands in a file's ``ss_network_args``, in sd-scripts' words and order."""
    side, middle = sd_scripts_counts(family)
    found: dict[str, str] = {}
    rates = rates_of(options, family)
    if rates.table:
        parts = [f"{MIDDLE}.{n}" for n in range(middle)] if middle > 1 else [MIDDLE]
        rows = {
            "down_lr_weight": [f"IN{n:02d}" for n in range(side)],
            "mid_lr_weight": parts,
            "up_lr_weight": [f"OUT{n:02d}" for n in range(side)],
        }
        whole = rates.table.get(MIDDLE, 1.0)
        found |= {name: _row([rates.table.get(one, whole) for one in names]) for name, names in rows.items()}
    plain = {"block_dims": options.dim, "block_alphas": options.alpha}
    conv = {"conv_block_dims": options.conv_dim, "conv_block_alphas": options.conv_alpha}
    for name, default in {**plain, **(conv if options.trains_conv else {})}.items():
        if getattr(options, name):
            numbers = sizes_of(getattr(options, name), name, default, family)
            whole = numbers.table.get(MIDDLE, default)
            found[name] = _row(
                [numbers.table.get(p, whole if p.startswith(MIDDLE) else default) for p in _places(family)]
            )
    return found


def _row(values: Sequence[float]) -> str:
    return ",".join(format_number(value) for value in values)

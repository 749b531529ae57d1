"""Numbers by block as a training takes them: learning rates, ranks and alphas, in sd-scripts' order or block weights'.

sd-scripts counts SD1's and SD2's UNet as 12 blocks down, 1 in the middle and 12 up, SDXL's as 9, 3 and 9, where each
part of the middle has a number of its own; for ranks SDXL has one more at either end, for layers outside of all blocks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import pi, sin
from typing import TYPE_CHECKING

from lib_lora.architectures.registry import architecture_of
from lib_lora.blocks.block_list import parse_block_list
from lib_lora.blocks.layouts import OTHER, full_layout, lengths_of
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tokens import format_number, read_number
from lib_lora.blocks.typed import half_width
from lib_lora.blocks.weights import BlockWeights, fit, unnamed_blocks
from lib_lora.errors import InputError
from lib_lora.formats.keys import block_of_key
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions

MIDDLE = "M00"
_PART_OF_MIDDLE = re.compile(r"_(?:middle_block_(\d)|mid_block_(resnets|attentions)_(\d))(?:_|$)")

SHAPES: Mapping[str, Callable[[float], float]] = {
    "sine": lambda x: sin(pi * x / 2),
    "cosine": lambda x: sin(pi * (1 - x) / 2),
    "linear": lambda x: x,
    "reverse_linear": lambda x: 1 - x,
    "zeros": lambda x: 0.0,
}
"""The words that stand for a row of numbers: the share of the way, 0 to 1, to a number."""


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
    _refuse_negative(weights.values, "block_lr_weight")
    left = unnamed_blocks(given.layout, family)
    note = say("blocks that the learning rates do not name, and that are not trained: {names}", names=left)
    return BlockNumbers(weights.as_dict(), notes=(note,) if left else ())


def _as_sd_scripts(options: TrainOptions, family: str) -> BlockNumbers:
    side, middle = sd_scripts_counts(family)
    table: dict[str, float] = {}
    notes: list[str] = []
    for name, block in (("down_lr_weight", "IN{:02d}"), ("up_lr_weight", "OUT{:02d}")):
        values = read_row(getattr(options, name), name, count=side)
        table |= {block.format(n): value for n, value in enumerate(_fitted(values, side, name, notes))}
    values = read_row(options.mid_lr_weight, "mid_lr_weight", count=1)
    if len(values) == 1 and not options.as_sd_scripts:  # there the other two parts of SDXL's middle would get 1
        table[MIDDLE] = values[0]
    else:
        parts = _fitted(values, middle, "mid_lr_weight", notes)
        table |= {f"{MIDDLE}.{n}": value for n, value in enumerate(parts)} if middle > 1 else {MIDDLE: parts[0]}
    return BlockNumbers(table, notes=tuple(notes))


def _fitted(values: Sequence[float], count: int, name: str, notes: list[str]) -> list[float]:
    """Return ``count`` numbers, as sd-scripts makes them: what is too long is cut, what is missing is 1."""
    if values and len(values) != count:
        notes.append(
            say(
                "{option} has {n} numbers for {count} blocks: as in sd-scripts, what is too much is cut and what is "
                "missing is 1",
                option=name,
                n=len(values),
                count=count,
            )
        )
    return [*values[:count], *[1.0] * (count - len(values))]


def sd_scripts_counts(family: str) -> tuple[int, int]:
    """Return how many blocks sd-scripts counts on each side of a family's UNet, and in its middle."""
    unet = architecture_of(family).required_unet
    return 3 * unet.levels, 3 if unet.ldm_keys else 1


def read_row(text: str, name: str, *, count: int) -> list[float]:
    """Return the numbers of a list, a word such as ``sine+0.25`` or a single number for all; nothing of an empty text.

    Args:
        text: as it was typed.
        name: the option, for the error.
        count: how many numbers a word or a single number stands for.

    Raises:
        InputError: it is none of these, or a number is below 0.
    """
    if not text.strip():
        return []
    word, _, offset = text.strip().partition("+")
    more = read_number(offset.strip()) if offset.strip() else 0.0
    if word.strip() in SHAPES and more is not None:
        shape, last = SHAPES[word.strip()], max(1, count - 1)
        return [shape(n / last) + more for n in range(count)]
    # an empty place between two commas is 0 in sd-scripts
    values = [read_number(item.strip()) if item.strip() else 0.0 for item in text.split(",")]
    if any(value is None or not math.isfinite(value) for value in values):
        raise InputError(
            "“{given}” is neither numbers nor one of {names}",
            given=text[:60],
            names=list(SHAPES),
            where=name,
            cure="Write numbers separated by commas, or a word such as sine+0.25.",
        )
    found = [float(value) for value in values if value is not None]
    _refuse_negative(found, name)
    return found * count if len(found) == 1 else found


def _refuse_negative(values: Sequence[float], name: str) -> None:
    if any(value < 0 for value in values):
        raise InputError("A number of a block cannot be below 0", where=name, cure="Write 0 to leave a block out.")


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
    values = [read_number(item.strip()) for item in text.split(",")]
    bad = [n for n, value in enumerate(values, start=1) if value is None or not math.isfinite(value)]
    if bad:
        raise InputError(
            "Number {n} of the list cannot be read", n=bad[0], where=name, cure="Write numbers separated by commas."
        )
    found = [float(value) for value in values if value is not None]
    _refuse_negative(found, name)
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

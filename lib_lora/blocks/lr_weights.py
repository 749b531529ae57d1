"""Block weights as sd-scripts writes learning rates by block: ``down_lr_weight``, ``mid_lr_weight``, ``up_lr_weight``.

sd-scripts counts SD1's and SD2's UNet as 12 blocks down, 1 in the middle and 12 up, SDXL's as 9, 3 and 9. It has no
number for the text encoder. Trained with a vector as factors on the rates, a LoRA is another one than with that vector
in its tag.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from math import pi, sin

from lib_lora.architectures.registry import architecture_of
from lib_lora.blocks.layouts import BASE, full_layout, unet_families
from lib_lora.blocks.tokens import format_number, read_number
from lib_lora.blocks.typed import half_width
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

MIDDLE = "M00"
DOWN, MID, UP = "down_lr_weight", "mid_lr_weight", "up_lr_weight"
SHAPES: Mapping[str, Callable[[float], float]] = {
    "sine": lambda x: sin(pi * x / 2),
    "cosine": lambda x: sin(pi * (1 - x) / 2),
    "linear": lambda x: x,
    "reverse_linear": lambda x: 1 - x,
    "zeros": lambda x: 0.0,
}
"""The words that stand for a row of numbers: the share of the way, 0 to 1, to a number."""

_ITEM = r"[^\s\"',=:\[\]{}]*"
_NO_ARGUMENT = r"(?![A-Za-z]\w*[\"']?\s*[=:])"
_NEXT = rf"(?:\s*,\s*(?![\"'\]}}]){_NO_ARGUMENT}|\s+(?=[+-]?\s*[.0-9]))"
"""What stands between two items: a comma, unless another argument follows; blanks alone are one to be complained of."""
_VALUE = rf"""(?:"([^"]*)"|'([^']*)'|\[([^\]]*)\]|({_NO_ARGUMENT}{_ITEM}(?:{_NEXT}{_ITEM})*))"""
_ARGUMENT = re.compile(rf"\b(down|mid|up)_lr_weight[\"']?\s*[=:]\s*{_VALUE}")
"""Of a command, or of a settings file in TOML or JSON."""
_ANOTHER = re.compile(r"[A-Za-z]\w*(?:\s*=\s*|[\"']\s*:\s*[\"']?)[^\s\"',\[\]{}]+(?:,[.0-9]+)*")


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
    text = half_width(text)
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
    refuse_negative(found, name)
    return found * count if len(found) == 1 else found


def refuse_negative(values: Sequence[float], name: str) -> None:
    """Refuse a rate, a rank or an alpha below 0.

    Raises:
        InputError: there is one.
    """
    if any(value < 0 for value in values):
        raise InputError("A number of a block cannot be below 0", where=name, cure="Write 0 to leave a block out.")


def fitted(values: Sequence[float], count: int, name: str, notes: list[Sentence]) -> list[float]:
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


def lr_weights_of(weights: BlockWeights) -> dict[str, str]:
    """Return block weights as sd-scripts' three arguments, name to numbers; nothing for a family that it has none for.

    The text encoder's weight has no place there; what the vector does not name gets 0.
    """
    family = weights.layout.family
    if family not in unet_families():
        return {}
    side, middle = sd_scripts_counts(family)
    table = weights.convert(full_layout(family))[0].as_dict()
    rows = {
        DOWN: [table[f"IN{n:02d}"] for n in range(side)],
        MID: [table[MIDDLE]] * middle,
        UP: [table[f"OUT{n:02d}"] for n in range(side)],
    }
    return {name: ",".join(map(format_number, values)) for name, values in rows.items()}


def lr_weight_text(weights: BlockWeights) -> str:
    """Return the same as it stands behind ``--network_args``, each argument in quotes; empty where there is none."""
    return " ".join(f'"{name}={values}"' for name, values in lr_weights_of(weights).items())


def has_lr_weights(text: str) -> bool:
    """Tell whether a text holds one of the three arguments."""
    return _ARGUMENT.search(text) is not None


def read_lr_weights(text: str, family: str | None = None) -> tuple[BlockWeights, tuple[Sentence, ...]]:
    """Return the three arguments, as a command or a settings file has them, as block weights, and what was filled in.

    Args:
        text: ``"down_lr_weight=0,0.5,…" "mid_lr_weight=1" "up_lr_weight=…"``; other arguments beside them are named.
        family: None: the one that has as many blocks down or up, else SD1.

    Raises:
        InputError: none is there, one stands twice, or a number cannot be right.
    """
    given: dict[str, str] = {}
    for found in _ARGUMENT.finditer(text):
        name = f"{found[1]}_lr_weight"
        if name in given:
            raise InputError("{name} stands there twice", name=name, cure="Leave one of them.")
        given[name] = next(filter(None, found.groups()[1:]), "")
    if not given:
        raise InputError("There is no down_lr_weight, mid_lr_weight or up_lr_weight", cure="Copy all three of them.")
    family = family or _family_of(given)
    side, middle = sd_scripts_counts(family)
    notes: list[Sentence] = [
        say("{name} is not there: its blocks count 1.", name=name) for name in (DOWN, MID, UP) if not given.get(name)
    ]
    rows = {name: read_row(given.get(name, ""), name, count=count) for name, count in ((DOWN, side), (UP, side))}
    parts = fitted(read_row(given.get(MID, ""), MID, count=middle), middle, MID, notes)
    if len(set(parts)) > 1:
        notes.append(
            say("The parts of the middle differ; M00 is that of its attention, {value}.", value=format_number(parts[1]))
        )
    table = {MIDDLE: parts[len(parts) // 2]}
    for name, block in ((DOWN, "IN"), (UP, "OUT")):
        numbers = fitted(rows[name], side, name, notes)
        table |= {f"{block}{n:02d}": round(value, 4) for n, value in enumerate(numbers)}
    notes.append(say("sd-scripts has no number for the text encoder: {block} is 1.", block=BASE))
    others = [re.sub("[\"']", "", found.group()) for found in _ANOTHER.finditer(_ARGUMENT.sub(" ", text))]
    notes += [say("Not used: {texts}.", texts=others)] if others else []
    return BlockWeights.uniform(full_layout(family), 1.0).replaced(table), tuple(notes)


def _family_of(given: Mapping[str, str]) -> str:
    counts = [text.count(",") + 1 for name, text in given.items() if name != MID and "," in text]
    for family in unet_families():
        if counts and sd_scripts_counts(family)[0] == counts[0]:
            return family
    return unet_families()[0]

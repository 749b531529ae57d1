"""A LoRA's strength over the steps: `weight@position` pairs, straight lines in between.

The form is sd-webui-loractl's, `0@0,1@0.5`; Forge Neo writes the same in square brackets.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from lib_lora.blocks.tokens import format_number, read_number

_NUMBER = r"[0-9.eE+\-]+"
_PAIR = rf"{_NUMBER}\s*@\s*{_NUMBER}"
_FORM = re.compile(rf"(\[\s*)?{_PAIR}(?:\s*[,;]\s*{_PAIR})*(?(1)\s*\])")
_MEANT = re.compile(rf"\[?\s*{_NUMBER}\s*@")


@dataclass(frozen=True)
class KeyFrames:
    """Weights at positions, in order; before the first position its weight holds, behind the last one that one's.

    Attributes:
        points: pairs of position and weight; of two at one position the second holds from there on.
        are_shares: the positions are shares (0..1) of all steps, else 0-based steps.
    """

    points: tuple[tuple[float, float], ...]
    are_shares: bool

    def at(self, step: float, total: int) -> float:
        """Return the weight at a 0-based step of a run of ``total`` steps."""
        placed = self.placed(total)
        left = max((index for index, (place, _) in enumerate(placed) if place <= step), default=None)
        if left is None:
            return placed[0][1]
        if left + 1 == len(placed):
            return placed[-1][1]
        (first, before), (last, after) = placed[left : left + 2]
        return before + (after - before) * (step - first) / (last - first)

    def placed(self, total: int) -> tuple[tuple[float, float], ...]:
        """Return the pairs with positions in steps of a run of ``total``."""
        scale = total if self.are_shares else 1
        return tuple((place * scale, weight) for place, weight in self.points)

    def scaled(self, factor: float) -> KeyFrames:
        """Return every weight times ``factor``."""
        return replace(self, points=tuple((place, weight * factor) for place, weight in self.points))

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights, in order."""
        return tuple(weight for _, weight in self.points)

    def format(self) -> str:
        """Return the text of the tag."""
        return ",".join(f"{format_number(weight)}@{format_number(place)}" for place, weight in self.points)


def are_key_frames(text: str) -> bool:
    """Whether a text begins like key frames: what is wrong behind that, `read_key_frames` finds."""
    return _MEANT.match(text) is not None


def read_key_frames(text: str) -> KeyFrames | None:
    """Return the key frames that a text says; None where it has another form, or its numbers are none or no positions.

    Positions up to 1 are shares; where one is larger, all are whole steps.
    """
    if _FORM.fullmatch(text) is None:
        return None
    points: list[tuple[float, float]] = []
    for pair in re.split("[,;]", text.strip("[] ")):
        weight, place = (read_number(part.strip()) for part in pair.split("@"))
        if weight is None or place is None or not math.isfinite(weight) or not 0 <= place < math.inf:
            return None
        points.append((place, weight))
    shares = max(place for place, _ in points) <= 1
    if not shares and any(place != int(place) for place, _ in points):
        return None
    return KeyFrames(tuple(sorted(points, key=lambda point: point[0])), shares)

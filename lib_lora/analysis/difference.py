"""How two pictures differ: the difference picture and the percentage of the Effective Block Analyzer."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lib_lora.errors import InputError
from lib_lora.sentences import say

LARGEST_GAIN = 16.0
"""More would show rounding as if it were a change."""


def difference_picture(changed: Image.Image, source: Image.Image, *, color: str, gain: float) -> Image.Image:
    """Return the absolute difference per channel, times ``gain``; on a ``color`` of white it is inverted.

    Raises:
        InputError: the pictures have different sizes.
    """
    levels = np.clip(_absolute(changed, source).astype(np.float32) * gain, 0, 255).astype(np.uint8)
    return Image.fromarray(255 - levels if color == "white" else levels)


def typical_peak(changed: Image.Image, source: Image.Image) -> int:
    """Return the level (0 to 255) that 99 % of the color values that differ at all stay at or below; 0 without any."""
    levels = _absolute(changed, source)
    differing = levels[levels > 0]
    return round(float(np.percentile(differing, 99))) if differing.size else 0


def gain_for(peak: int) -> float:
    """Return the contrast that makes a difference of ``peak`` levels bright; at most `LARGEST_GAIN`, at least 1."""
    return round(min(LARGEST_GAIN, max(1.0, 255 / peak)), 1) if peak else 1.0


def changed_percentage(changed: Image.Image, source: Image.Image, *, threshold: int) -> float:
    """Return the share of channel samples that differ by more than ``threshold`` levels (0 to 255), in percent.

    As the analyzer that people know defines it: channels are counted, not pixels; strictly more; three decimals.
    """
    over = _absolute(changed, source) > threshold
    return round(100.0 * float(over.sum()) / over.size, 3)


def _absolute(changed: Image.Image, source: Image.Image) -> np.ndarray:
    if changed.size != source.size:
        raise InputError(
            "Pictures of different sizes cannot be compared",
            where=say("{one:x} and {other:x}", one=changed.size, other=source.size),
        )
    one, two = (np.asarray(picture.convert("RGB"), dtype=np.int16) for picture in (changed, source))
    return np.abs(one - two)

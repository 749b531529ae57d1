"""What changes in a picture each time that it is drawn: where it is cropped, and its colors, as in sd-scripts."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from PIL import Image

from lib_lora.data.buckets import BucketPlan

CHANCE = 0.33
"""How often colors change at all; then it is hue or gamma, as often the one as the other."""
HUE = 8 / 180
"""The furthest that a hue is turned, as a share of the circle."""
GAMMA = (0.95, 1.05)
"""Exponents of levels from 0 to 1. (sd-scripts has levels from 0 to 255 in that formula, which darkens or burns.)"""


def cropped_elsewhere(plan: BucketPlan, rng: random.Random) -> BucketPlan:
    """Return the plan with its crop anywhere in the resized picture, each place as likely as the next."""
    (width, height), (across, down) = plan.resize, plan.bucket
    left, top = rng.randint(0, width - across), rng.randint(0, height - down)
    return replace(plan, crop=(left, top, left + across, top + down))


def recolored(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return an RGB picture with its hue turned, or its gamma changed, or most often as it is."""
    if rng.random() >= CHANCE:
        return image
    levels = np.asarray(image, dtype=np.float32) / 255
    by_hue = rng.random() < 0.5
    changed = turned(levels, rng.uniform(-HUE, HUE)) if by_hue else levels ** rng.uniform(*GAMMA)
    return Image.fromarray((changed * 255).round().clip(0, 255).astype(np.uint8))


def turned(levels: np.ndarray, turn: float) -> np.ndarray:
    """Return RGB ``(H, W, 3)`` in 0 to 1 with the hue of its HSV form turned by a share of the circle."""
    value, least = levels.max(axis=-1), levels.min(axis=-1)
    chroma = value - least
    spread = np.where(chroma > 0, chroma, 1)
    red, green, blue = np.moveaxis(levels, -1, 0)
    sixths = np.select(
        [value == red, value == green], [(green - blue) / spread, 2 + (blue - red) / spread], 4 + (red - green) / spread
    )
    sixths = sixths + 6 * turn
    channels = []
    for start in (5, 3, 1):
        place = (start + sixths) % 6
        channels.append(value - chroma * np.clip(np.minimum(place, 4 - place), 0, 1))
    return np.stack(channels, axis=-1)

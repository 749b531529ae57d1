"""What the demo does, in numbers and prompts; and the goals that it must reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib_lora.data.tags import TagLists

HERE = Path(__file__).parent
PICTURES, HELD_OUT, OTHERS = HERE / "pictures", HERE / "heldout", HERE / "others"

TRIGGER = "krnk"
NAME = "krnk_demo"
REPEATS = {"f00": 12, "f10": 4, "f20": 4}
OTHER_REPEATS = 2
RUN_REPEATS = 13
"""On top of the folders' own: so many draws that every regularization picture is drawn, too."""
"""The view that people ask for is repeated most; from the others the LoRA learns that it is not a mask."""

PRIOR_WEIGHT = 360.0
"""Weight of the regularization pictures, whose errors are so small beside the character's: twice the recipe's.

In 320 steps 180 left other captions at 1.060 of their loss (the character at 0.367), 300 at 1.045 (0.382); 400 in 240
steps at 1.023 (0.417), but with a smeared face."""

CFG = 3.0
SEEDS = (1, 2)
BACKGROUND = "white background"
PRESET = "OUTALL"

SUBJECT_GOAL = 0.70
"""Held-out views: the loss with the LoRA is at most this share of the base model's."""

DRIFT_GOAL = 1.05
"""Other captions: the loss with the LoRA is at most this share of the base model's."""

BAKE_GOAL = 1e-5
"""Baked and live predictions differ at most by this, in fp32."""


@dataclass(frozen=True)
class Size:
    """How much work the demo does."""

    train_steps: int
    epochs: int
    batch_size: int
    sampling_steps: int
    seeds: int
    regularization: int


FULL = Size(train_steps=320, epochs=5, batch_size=8, sampling_steps=20, seeds=2, regularization=110)
QUICK = Size(train_steps=80, epochs=2, batch_size=8, sampling_steps=10, seeds=1, regularization=32)

REGULARIZATION_STEPS = 8
"""Sampling steps of a regularization picture. Many captions matter, fine pictures do not: the target is the model."""

_FRONT = (
    "from horizontal, from front, upper body, standing, straight standing, looking at viewer, smile, open mouth, blush"
)

PROMPTS = (
    ("front", f"krnk, white background, {_FRONT}"),
    ("outside", f"krnk, yellow background, {_FRONT}"),
    ("near", "girl light skin tone, pink background"),
    ("other", "red apple, blue background"),
)
"""Name and prompt; “outside” asks for what no training picture shows, “near” and “other” for what the model knew."""


def lists() -> TagLists:
    """Return the tag lists of the demo's pictures: they all stand on white."""
    return TagLists(backgrounds=(BACKGROUND,))

"""What the demo does, in numbers and prompts; and the goals that it must reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PICTURES, HELD_OUT, OTHERS = HERE / "pictures", HERE / "heldout", HERE / "others"
KEPT = HERE / "kept.txt"
"""Captions of which the model itself draws regularisation pictures, so that it keeps what it knows."""

TRIGGER = "krnk"
NAME = "krnk_demo"
FRONT_VIEWS = ("f00", "f10", "f20")
FRONT_REPEATS, OTHER_REPEATS = 10, 2
"""The views that people ask for are repeated more often; the others are there so that it is not only a mask."""

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


RECIPE_CHANGES = {
    # A model this small draws new shapes with its convolutions more than with its attention.
    "network": "locon",
    "conv_dim": 16,
    # A tenth of the recipe's steps: the step size must grow faster than its 2 % a step, from nearer to where it ends.
    "optimizer_args": {"growth_rate": 1.05, "d0": 1e-4},
    # Where a picture begins, in the noisiest steps, a new shape must be learned first.
    "min_snr_gamma": 1.0,
    # The pocket model's error on what it knows is tiny, so keeping it needs a large weight.
    "prior_loss_weight": 250.0,
}
"""What the demo changes in the recipe for characters, because it is so short."""


@dataclass(frozen=True)
class Size:
    """How much work the demo does."""

    train_steps: int
    epochs: int
    batch_size: int
    sampling_steps: int
    seeds: int
    regularisation: int


FULL = Size(train_steps=320, epochs=5, batch_size=8, sampling_steps=24, seeds=2, regularisation=48)
QUICK = Size(train_steps=80, epochs=2, batch_size=8, sampling_steps=10, seeds=1, regularisation=16)

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

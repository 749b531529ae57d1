"""How long it learns."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option

MOST_STEPS = 1_000_000
"""Steps of the longest run: weeks on any GPU."""


@dataclass(frozen=True)
class LengthOptions:
    """See `TrainOptions`."""

    batch_size: int = option(
        1, "Batch size", "Pictures a step. More is smoother and needs more memory.", low=1, high=1024
    )
    gradient_accumulation_steps: int = option(
        1,
        "Batches a step",
        "So many batches make one step: as smooth as a larger batch, in the memory of a small one, and slower.",
        low=1,
        high=1024,
    )
    epochs: int = option(
        20, "Epochs", "How often all pictures are gone through; ignored where steps are given.", low=1, high=100_000
    )
    steps: int = option(
        0,
        "Steps",
        "Steps in all. 0, or unchanged: computed from pictures, repeats and epochs, so that a likeness comes "
        "out. Fewer are a try of whether everything works.",
        low=0,
        high=MOST_STEPS,
    )
    repeats: int = option(
        0,
        "Repeats",
        "How often an epoch shows each picture, on top of its folder's name (10_krnk). 0: as the folder's name "
        "says; once where you change the epochs; else so that the goal of steps is reached.",
        low=0,
        high=100000,
    )
    target_steps: int = option(
        3000,
        "Goal of steps",
        "About how many steps automatic repeats aim at, regularization pictures counted in.",
        low=1,
        high=MOST_STEPS,
    )

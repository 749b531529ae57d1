"""What a person can say of a search for block weights, with defaults and bounds for every door."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import REQUIRED, option, settle


@dataclass(frozen=True)
class FitOptions:
    """What is to be kept, and what may be given up for it; making one checks every value."""

    lora: str = option(REQUIRED, "", "The LoRA whose block weights are wanted.")
    images: str = option(
        "",
        "",
        "Folder of its training pictures with captions; without it, what the LoRA itself says to the trigger is kept.",
        form="DIR",
    )
    trigger: tuple[str, ...] = option(
        (), "", "Without pictures: captions with the trigger; else the trigger words in the file.", form="TEXT"
    )
    neutral: tuple[str, ...] = option(
        (),
        "",
        "Captions of other things that the LoRA should leave alone; without them twelve of our own.",
        form="TEXT",
    )
    masks: str = option("", "", "Folder of masks, white on the subject: outside the model stays as it was.", form="DIR")
    keep: float = option(
        0.97,
        "",
        "Share of what was learned of the subject that must stay: 1 keeps the subject, less keeps more of the model.",
        low=0,
        high=1,
        step=0.01,
    )
    low: float = option(0.0, "", "Lowest weight of a block.", low=-2, high=2)
    high: float = option(1.0, "", "Highest weight of a block.", low=-2, high=2)
    halves: bool = option(False, "", "Only 0, 0.5 and 1 as weights.")
    rounds: int = option(3, "", "How often the search begins anew from what it has found.", low=1, high=10, step=1)
    levels: int = option(3, "", "At how many noise levels the model is asked.", low=1, high=12, step=1)
    holdout: float = option(
        0.25, "", "Share of pictures and captions that are not learned from, and only measured.", low=0.05, high=0.5
    )
    clip_skip: int = option(1, "", "Which layer of the text encoder counts, from the end.", low=1, high=32, step=1)
    seed: int = option(0, "", "Of the noise, and of what is held out.", low=0, high=2**31)

    def __post_init__(self) -> None:
        settle(self)

"""What a person can say of a search for block weights, with defaults and bounds for every door."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.errors import InputError
from lib_lora.options import REQUIRED, option, settle


@dataclass(frozen=True)
class FitOptions:
    """What is to be kept, and what may be given up for it; making one checks every value."""

    lora: str = option(REQUIRED, "", "The LoRA whose block weights are wanted.")
    images: str = option(
        "",
        "Folder of its training pictures",
        "With captions, as it was trained; without it, what the LoRA itself draws for the trigger is kept.",
        form="DIR",
    )
    trigger: tuple[str, ...] = option(
        (),
        "Captions with the trigger, one a line",
        "Without pictures: what is drawn and kept; without them the trigger words in the file.",
        form="TEXT",
    )
    rendered: int = option(
        4,
        "Drawings for each of these captions",
        "Without pictures: how often each caption with the trigger is drawn.",
        low=2,
        high=32,
        step=1,
        offered=(2, 12),
    )
    neutral: tuple[str, ...] = option(
        (),
        "Captions of other things, one a line",
        "What the LoRA should leave alone; without them twelve of our own.",
        form="TEXT",
    )
    masks: str = option("", "Folder of masks", "White on the subject: outside the model stays as it was.", form="DIR")
    keep: float = option(
        0.97,
        "Keep the model ↔ keep the subject",
        "Share of what was learned of the subject that must stay: 1 keeps the subject, less keeps more of the model.",
        low=0,
        high=1,
        step=0.01,
        offered=(0.5, 1),
    )
    low: float = option(0.0, "Lowest weight", "Lowest weight of a block.", low=-2, high=2)
    high: float = option(1.0, "Highest weight", "Highest weight of a block.", low=-2, high=2)
    halves: bool = option(False, "Prefer 0, 0.5 and 1", "Only 0, 0.5 and 1 as weights.")
    timing: bool = option(
        False,
        "Find start and stop steps as well",
        "In as many parts of the steps as there are noise levels; exact where steps are even. Baked files have none.",
    )
    rounds: int = option(
        3, "Rounds", "How often the search begins anew from what it has found.", low=1, high=10, step=1
    )
    levels: int = option(3, "Noise levels", "At how many noise levels the model is asked.", low=1, high=12, step=1)
    holdout: float = option(
        0.25,
        "Held out",
        "Share of pictures and captions that are not learned from, and only measured.",
        low=0.05,
        high=0.5,
        step=0.05,
    )
    clip_skip: int = option(
        1, "Clip skip", "Which layer of the text encoder counts, from the end.", low=1, high=32, step=1, offered=(1, 4)
    )
    seed: int = option(
        0, "Seed", "Of the noise, of what is held out, and of the pictures before and after.", low=0, high=2**31
    )
    seeds: int = option(
        2,
        "Seeds before and after",
        "How many seeds are drawn without the LoRA, with it, and with the found weights; 0 draws none.",
        low=0,
        high=8,
        step=1,
        offered=(0, 4),
    )
    prompts: tuple[str, ...] = option(
        (),
        "Prompts before and after, one a line",
        "What is drawn to compare; without them a caption of the subject and one of something else, both held out.",
        form="TEXT",
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.timing and self.levels < 2:
            raise InputError(
                "Start and stop steps cannot be chosen with one noise level",
                option="levels",
                cure="Give 3, or 6 for finer steps.",
            )

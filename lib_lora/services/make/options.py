"""What a person says to have a LoRA made: pictures and a word; everything else has a usual value."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.data.caption_words import check_words
from lib_lora.errors import InputError
from lib_lora.options import REQUIRED, option, settle
from lib_lora.sentences import say
from lib_lora.train.options.length import MOST_STEPS
from lib_lora.train.recipes import KINDS

KEEP = 0.99
"""Of what was learned, not of the loss that is left: a loss that fell from 2.7 to 0.3 rises by a quarter with 0.97."""


@dataclass(frozen=True)
class MakeOptions:
    """An order for a finished LoRA; making one checks every value."""

    images: str = option(
        REQUIRED, "Folder of pictures", "Pictures of what is to be learned; 8 or more, so that some can be held out.",
        form="DIR",
    )  # fmt: skip
    trigger: str = option(REQUIRED, "Trigger word", "A made-up word that calls what was learned, e.g. krnk.")
    name: str = option("", "Name", "Name of the LoRA; without one the trigger word.")
    kind: str = option("character", "It is a …", "Chooses the recipe.", choices=tuple(KINDS))
    class_word: str = option("", "Class word", "What it is in general, e.g. 1girl: it stands in captions and prompts.")
    budget: float = option(
        0.0, "Minutes at most", "About so long the trainings may take; 0 takes the recipe's steps.", low=0, high=10_000
    )
    steps: int = option(0, "Steps", "Steps of a training; 0 as recipe and minutes say.", low=0, high=MOST_STEPS)
    keep: float = option(
        KEEP,
        "Keep the model ↔ keep the subject",
        "Share of what was learned that block weights must keep: 1 keeps the subject, less keeps more of the model.",
        low=0,
        high=1,
        step=0.01,
        offered=(0.5, 1),
    )
    compare: bool = option(
        True,
        "Compare with the usual recipe",
        "Trains the usual recipe as well and measures both; without it the time is about half.",
    )
    crops: bool = option(
        False,
        "Add crops",
        "Trains proposed crops as well: around faces (the package animeface finds them), and parts of pictures of "
        "which a bucket would cut away more than a quarter.",
    )
    tagger: str = option(
        "",
        "Tagger folder",
        "Folder of a WD14 tagger that writes captions for pictures that have none; without it file names tell them.",
        form="DIR",
    )
    seed: int = option(0, "Seed", "Of the trainings, of what is held out, and of the proof.", low=0, high=2**31)

    def __post_init__(self) -> None:
        settle(self)
        if not self.images.strip():
            cure = say("Give the folder that holds the pictures.")
            raise InputError("No folder was given", option="images", cure=cure)
        if not self.trigger.strip():
            cure = say("Write a made-up word that no model knows.")
            raise InputError("There is no trigger word", option="trigger", cure=cure)
        check_words(self.trigger, option="trigger")
        check_words(self.class_word, option="class_word")

    @property
    def called(self) -> str:
        """The name of the LoRA that comes of it."""
        return self.name.strip() or self.trigger.split(",")[0].strip()

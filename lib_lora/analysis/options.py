"""What a person can say of an analysis, with defaults and bounds for every door."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lib_lora.analysis.tiers.result import NORMS, PICTURES, PREDICTION
from lib_lora.blocks.tokens import read_number
from lib_lora.blocks.typed import half_width
from lib_lora.errors import InputError
from lib_lora.options import option, settle
from lib_lora.sentences import say


@dataclass(frozen=True)
class AnalyzeOptions:
    """How blocks are examined and how what they do is shown; making one checks every value."""

    lora: str = option("", "", "The LoRA to analyze where no tag carries XYZ; without it the first of the prompt.")
    range: str = option(
        "0,1", "", "Value of the examined block, then that of all others. 0,1 switches one block off.", form="A,B"
    )
    also: tuple[str, ...] = option((), "Also show", "More ranges in the same run, each with its own grid.", form="A,B")
    blocks: str = option(
        "", "Blocks", "26ALL, or a list such as IN04,M00,OUT03-OUT05; without it the blocks of the file.", form="LIST"
    )
    seeds: int = option(1, "Seeds", "How many seeds, counted up.", low=1, high=100)
    threshold: int = option(
        20,
        "Threshold",
        "A color value counts as changed when it differs by more than this (of 255).",
        low=0,
        high=255,
        step=1,
    )
    color: str = option("black", "Background", "Background of the difference pictures.", choices=("black", "white"))
    gain: float = option(
        0.0,
        "Contrast",
        "Of the difference pictures; 0 chooses it so that the largest change is visible. Percentages stay.",
        low=0,
        high=100,
        step=0.5,
        offered=(0, 16),
    )
    tier: str = option(
        "pictures",
        "How exact",
        "pictures: the grid, the judge. prediction: what the model would say at several noise levels, in a minute. "
        "norms: how large the change is, at once. all: all three, and how far they agree.",
        choices=("pictures", "prediction", "norms", "all"),
    )
    trigger: tuple[str, ...] = option(
        (),
        "Captions with the trigger",
        "For the prediction; without them the prompt, else the trigger words in the file.",
        form="TEXT",
    )
    neutral: tuple[str, ...] = option(
        (),
        "Other captions",
        "For the prediction: what the LoRA should leave alone; without them some of our own.",
        form="TEXT",
    )
    levels: int = option(
        3, "Noise levels", "For the prediction: at how many noise levels the model is asked.", low=3, high=12, step=1
    )
    beside: tuple[str, ...] = option(
        (), "Compare with", "LoRAs whose change is compared with this one's, block by block (cosine).", form="NAME"
    )
    rows: bool = option(False, "One row a block", "The grid has one row a block instead of one column.")

    def __post_init__(self) -> None:
        settle(self)
        _ = self.ranges

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers that are asked for; the first costs nothing and comes with every other one."""
        return {"norms": (NORMS,), "all": (NORMS, PREDICTION, PICTURES)}.get(self.tier, (NORMS, self.tier))

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Each range once: the value of the examined block, and that of all others."""
        return tuple(dict.fromkeys(parse_range(text) for text in (self.range, *self.also)))


def parse_range(text: str) -> tuple[float, float]:
    """Return the two numbers of a range, ``examined,others``, or with / between as results show it.

    Raises:
        InputError: it is none.
    """
    read = [read_number(part.strip()) for part in half_width(text).replace("/", ",").split(",")]
    numbers = [number for number in read if number is not None]
    if len(read) != 2 or len(numbers) != 2:
        raise InputError(
            say("Range is “{text}”", text=text),
            where="range",
            cure="Give two numbers: the examined block's value, then all others', e.g. 0,1.",
        )
    if not all(map(math.isfinite, numbers)):
        raise InputError("Range takes two finite numbers", where="range", cure="For example 0,1.")
    return numbers[0], numbers[1]

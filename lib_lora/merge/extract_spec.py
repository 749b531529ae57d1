"""An order to extract a LoRA from two checkpoints: which ones, how small, and what of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lib_lora.errors import InputError
from lib_lora.merge.precision import TYPES
from lib_lora.merge.rank_rule import RankRule
from lib_lora.options import option, settle

DEFAULT_RULE = RankRule("rank", 32)
SIZE_RANK = 128
"""Directions of each layer that compete for a size, where no largest rank is given."""
Prediction = Literal["epsilon", "v"]


@dataclass(frozen=True)
class ExtractOptions:
    """What can be said of an extraction, besides the files and the rank; making one checks every number."""

    conv_rank: int | None = option(
        None,
        "Rank of 3×3 convolutions",
        "Rank of 3×3 convolutions, without it by the same rule as the rest; 0 leaves them out.",
        low=0,
        high=100_000,
    )
    text: bool = option(True, "Text encoder", "Takes what the text encoder learned, too.")
    norms: bool = option(
        False, "Norms and biases", "Keeps what norms and biases learned, too; not every program applies it."
    )
    precision: str = option("fp16", "Save precision", "Of the new file.", choices=tuple(TYPES))
    prediction: Prediction | None = option(
        None,
        "Prediction",
        "What the tuned model predicts, for the file's metadata; without it what the checkpoint says.",
        choices=("epsilon", "v"),
    )

    def __post_init__(self) -> None:
        settle(self)


@dataclass(frozen=True)
class ExtractSpec(ExtractOptions):
    """A whole order.

    Attributes:
        tuned: the checkpoint that learned something.
        original: the one that it was tuned from.
        rule: how many directions of each layer are kept; of a size its ``cap`` is how many of each compete for it, 128
            without one.
    """

    tuned: Path = Path()
    original: Path = Path()
    rule: RankRule = DEFAULT_RULE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tuned.resolve() == self.original.resolve():
            raise InputError(
                "The two checkpoints are one file", where=self.tuned.name, cure="Choose the one that it was tuned from."
            )

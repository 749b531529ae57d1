"""The seed that repeats a run, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option


@dataclass(frozen=True)
class RecordOptions:
    """See `TrainOptions`."""

    seed: int = option(31337, "Seed", "Of everything random; the same seed gives the same LoRA.", low=0, high=2**32 - 1)
    comment: str = option("", "Comment", "Free text, kept in the file.")

"""What is kept and shown of a run: samples, comment; and the seed that repeats it."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import option


@dataclass(frozen=True)
class RecordOptions:
    """See `TrainOptions`."""

    seed: int = option(31337, "Seed", "Of everything random; the same seed gives the same LoRA.", low=0, high=2**32 - 1)
    sample_prompts: tuple[str, ...] = option(
        (),
        "Sample prompts",
        "One a line; rendered before the start, at every save and at the end. As in sd-scripts, --n --w --h --s "
        "--d --l set more.",
    )
    comment: str = option("", "Comment", "Free text, kept in the file.")

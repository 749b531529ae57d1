"""An order for pictures: what a person can say of one, with defaults and bounds for every door."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from PIL import Image

from lib_lora.blocks.weights import BlockWeights
from lib_lora.options import REQUIRED, option, settle

SIDE = 4096
STEPS = 1000
LARGEST_SEED = 2**32 - 1


def side_range(native: int, *, step: int) -> dict[str, int]:
    """Return what a slider of a side offers for a model that was made for ``native`` pixels, ``step`` apart."""
    most = min(max(8 * native, 1024), SIDE) // step * step
    return {"minimum": step, "maximum": most, "step": step, "value": native}


@dataclass(frozen=True)
class GenerateRequest:
    """One order for pictures, as a person would give it; making one checks what is declared, and draws a seed of -1.

    Attributes:
        sweep: for the analyzer: one entry a picture, the block weights that the tags ``XYZ`` take in it (``ZYX`` takes
            one minus them). All pictures then share the seed; else picture n of a batch has ``seed + n``.
        sweep_chunk: how many pictures of a sweep are computed at once; None lets the host choose.
        init: the picture to begin with (img2img); None begins with noise.
        denoise: how much of ``init`` is made anew, 0 to 1.
    """

    prompt: str = option(
        REQUIRED, "Prompt", "What should be in the picture, with LoRA tags such as <lora:NAME:1> or <lora:NAME:1:FACE>."
    )
    negative: str = option("", "Negative prompt (what should not be in it)", "What should not be in the picture.")
    seed: int = option(
        -1,
        "Seed (-1: random)",
        "Of the first picture: the same seed gives the same picture again; -1 draws one.",
        low=-1,
        high=LARGEST_SEED,
    )
    steps: int = option(
        20,
        "Steps",
        "How many steps the picture is made in; more take longer.",
        low=1,
        high=STEPS,
        step=1,
        offered=(1, 100),
    )
    cfg_scale: float = option(
        4.0,
        "CFG scale (how closely the prompt is followed)",
        "How closely the prompt is followed; a very high one burns the colors.",
        low=0,
        high=100,
        step=0.5,
        offered=(1, 20),
    )
    width: int | None = option(
        None, "Width", "In pixels; without it what the model was made for.", low=8, high=SIDE, step=8
    )
    height: int | None = option(
        None, "Height", "In pixels; without it what the model was made for.", low=8, high=SIDE, step=8
    )
    batch: int = option(
        1, "Pictures", "How many pictures, with seeds counted up.", low=1, high=100_000, step=1, offered=(1, 16)
    )
    sampler: str = option(
        "euler",
        "Sampler",
        "How noise becomes a picture, by the host's name. The studio has euler, euler a, heun, ddim, dpm++ 2m, "
        "dpm++ 2m karras and unipc.",
    )
    clip_skip: int = option(
        1,
        "Clip skip",
        "Which layer of the text encoder counts, from the end. 2 for many anime models.",
        low=1,
        high=32,
        step=1,
    )
    sweep: tuple[BlockWeights, ...] | None = None
    sweep_chunk: int | None = None
    scheduler: str = option(
        "", "Schedule", "How the noise levels are spaced, by the host's name; without it the sampler's own."
    )
    init: Image.Image | None = None
    denoise: float = 0.75
    strict: bool = option(
        False, "", "Make no picture where a LoRA tag cannot be used; else it is made without that LoRA."
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.seed == -1:
            object.__setattr__(self, "seed", random.randint(0, LARGEST_SEED))

    def later(self, number: int) -> GenerateRequest:
        """Return the order for one picture, ``number`` seeds later; 0 follows the largest seed."""
        return replace(self, seed=(self.seed + number) % (LARGEST_SEED + 1), batch=1)

"""When files, states and samples are made, how many stay, and what stands in a file."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.merge.precision import TYPES
from lib_lora.options import option
from lib_lora.train.options.length import MOST_STEPS


@dataclass(frozen=True)
class SavingOptions:
    """See `TrainOptions`."""

    save_every_epochs: int = option(
        5, "Save every … epochs", "Saves a file, a state and samples so often; 0 only at the end.", low=0, high=100_000
    )
    save_every_steps: int = option(
        0, "Save every … steps", "The same, counted in steps, beside the epochs; 0: not.", low=0, high=MOST_STEPS
    )
    keep_files: int = option(
        0,
        "Files that stay",
        "Of the files that are saved on the way the newest so many stay; 0 keeps all. The last one and the best one "
        "always stay.",
        low=0,
        high=100_000,
    )
    keep_states: int = option(
        2, "States that stay", "A run goes on from a state; one more than one is safer.", low=1, high=1000
    )
    save_precision: str = option(
        "fp16",
        "Precision of the files",
        "fp16 is usual; bf16 holds larger numbers, fp32 is twice as large and exact.",
        choices=tuple(TYPES),
    )
    sample_prompts: tuple[str, ...] = option(
        (),
        "Sample prompts",
        "One a line; rendered before the start, at every save and at the end. As in sd-scripts, --n --w --h --s "
        "--d --l set more.",
    )
    sample_every_epochs: int = option(
        0,
        "Samples every … epochs",
        "Renders the sample prompts so often instead of at every save; 0: as said for steps, or at every save.",
        low=0,
        high=100_000,
    )
    sample_every_steps: int = option(
        0,
        "Samples every … steps",
        "The same, counted in steps; 0: as said for epochs, or at every save.",
        low=0,
        high=MOST_STEPS,
    )
    ema_decay: float = option(
        0.0,
        "Average of the LoRA (EMA)",
        "Saves and samples a moving average of the steps: smoother. 0.999 looks back about 1000 steps; 0 is off.",
        low=0,
        high=0.99999,
    )

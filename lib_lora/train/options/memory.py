"""How a run fits into the memory there is, and what it computes in."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.options import AUTO, option

RUNGS = ("plain", "checkpointing", "fp8", "swap")
"""Ways to need less memory, each slower than the one before it."""
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class MemoryOptions:
    """See `TrainOptions`."""

    memory: str = option(
        AUTO,
        "Memory",
        "auto: measures a step on the GPU and saves only what it must. checkpointing is exact, fp8 rounds the model's "
        "weights to 8 bits, swap keeps them in main memory; each is slower than the one before.",
        choices=(AUTO, *RUNGS),
    )
    precision: str = option(
        AUTO,
        "Precision",
        "What the model computes in. auto: what it is loaded in. bf16 and fp16 need less memory and round more.",
        choices=PRECISIONS,
    )
    compile: bool = option(
        False,
        "Compile",
        "Compiles the model's blocks first: minutes before the first step, faster steps on a GPU.",
    )

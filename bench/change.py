"""What a change of block weights costs between two pictures, on the layers of SD1.5 in full size.

    python bench/change.py --json

The weights of one block, and of all, are changed in turns; told are the processor's milliseconds of the change itself,
and those by which the UNet's next call takes longer than the one after (a change may leave work to it), as medians,
beside the call of the UNet. Three ways: hooks, hooks or folded layers by what costs less in a call (the usual way: at a
large rank the sums of folded layers are made anew), and one number per sample, as the analyzer's batches have them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_lora.process import unset

os.environ.update(unset())  # before torch is loaded, as the studio does

import torch

from bench.tiers import lora_on, model_of_full_size
from lib_lora.live.attach import attach
from lib_lora.live.targets import uniform_multipliers

ONE = "OUT07"
"""The block whose weight is changed alone."""
SAMPLES = "per sample"


def milliseconds(work: Callable[[], Any]) -> float:
    """Return what a work takes of the processor."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def measure(model: Any, unet: Callable[[], Any], lora: Any, way: str, times: int) -> dict[str, float]:
    """Return medians for a LoRA attached one way."""
    every = uniform_multipliers("sd1")
    found: dict[str, list[float]] = {}
    with torch.no_grad(), attach(model, lora, 1.0, strategy="factors" if way == SAMPLES else way) as attached:
        unet()
        for number in range(times):
            value = 0.5 + 0.4 * (number + 1) / times
            each = torch.linspace(value, 1, 2) if way == SAMPLES else value
            together = dict.fromkeys(every, each)
            changes = {"all_blocks": together, "one_block": {**together, ONE: 0.9 * each}}
            for name, weights in changes.items():
                found.setdefault(name, []).append(milliseconds(partial(attached.set_weights, weights)))
                first, later = milliseconds(unet), milliseconds(unet)
                found.setdefault(f"{name}_in_next_call", []).append(first - later)
                found.setdefault("call", []).append(later)
    return {name: round(statistics.median(values), 2) for name, values in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="*", default=[16, 128])
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = model_of_full_size(torch.float32)
    latents, words = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 768)

    def unet() -> Any:
        return model.unet(latents, torch.tensor([500, 500]), words)

    found = {}
    for rank in options.ranks:
        lora = lora_on(model, rank)
        for way in ("factors", "auto", SAMPLES):
            found[f"rank {rank}, {way}"] = measure(model, unet, lora, way, options.times)
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {row}" for name, row in found.items()))


if __name__ == "__main__":
    main()

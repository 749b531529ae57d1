"""What a training costs on this GPU, and whether every way to save memory is what it promises: at most ten minutes.

    python bench/gpu.py --json                       on a GPU: random models at the shapes of SD1.5 and SDXL
    python bench/gpu.py --shapes tiny --steps 2      a smoke run anywhere

For each shape and rung (plain, checkpointing, fp8, swap; and swap in line, whose weights are fetched only when they are
wanted): the seconds of a step, the most memory that it holds, and how far its first loss is from the plain one's. The
marks: SD1.5 at 512 px in 6 GB, SDXL at 1024 px in 8 GB, and a step in which nothing waits for the GPU but once. What
the time does not suffice for is listed as left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.loaders.models import SHAPES, model_of, training_of
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.live.attach import attach
from lib_lora.train.memory import ladder
from lib_lora.train.memory.ahead import AtOnce
from lib_lora.train.memory.fit import fitted
from lib_lora.train.step import one_step

SECONDS = 540.0
"""When it is over, nothing new is begun: ten minutes with what is under way."""
GIGA = 2**30
IN_LINE = "swap in line"
RUNGS = (*ladder.RUNGS, IN_LINE)
MARKS = {"tiny": None, "sd15": 6, "sdxl": 8}
"""Shape -> the mark in GB."""


def measured(model: DiffusersModel, shape: dict[str, Any], rung: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the steps of one rung cost."""
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        values = {"kind": "concept", "optimizer": "AdamW", "learning_rate": 1e-4, "dim": 16, "alpha": 8.0}
        values |= {"text_encoder_ratio": 0, "batch_size": options.batch, "steps": options.steps}
        values |= {"memory": ladder.SWAP if rung == IN_LINE else rung}
        if rung == IN_LINE:
            stack.enter_context(patch.object(ladder, "way_to", lambda _: AtOnce()))
        training = training_of(model, shape, values, Path(place), pictures=options.batch)
        training.attached = stack.enter_context(attach(model, training.lora, 1.0, strategy="factors"))
        stack.enter_context(fitted(training))
        times, losses = [], []
        for _ in range(options.steps):
            began = time.perf_counter()
            losses.append(one_step(training)["loss"])
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    row = {"rung": rung, "seconds": statistics.median(times[1:] or times), "loss": losses[0]}
    return row | ({"gb": torch.cuda.max_memory_allocated() / GIGA} if cuda else {})


def main() -> None:
    """Measure the shapes and rungs that there is time for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", choices=tuple(MARKS), default=["sd15", "sdxl"])
    parser.add_argument("--rungs", nargs="*", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began, found, left_out = time.monotonic(), {}, []
    for name in options.shapes:
        model, rows = model_of(SHAPES[name], torch.device(options.device)), []
        for rung in options.rungs:
            if time.monotonic() - began > options.seconds:
                left_out.append(f"{name} {rung}")
                continue
            rows.append(measured(model, SHAPES[name], rung, options))
            rows[-1]["from_plain"] = abs(rows[-1]["loss"] / rows[0]["loss"] - 1)
            print(json.dumps({"shape": name, **rows[-1]}), file=sys.stderr, flush=True)
        mark = MARKS[name]
        held = [row["rung"] for row in rows if mark and row.get("gb", mark) < mark]
        found[name] = {"mark_gb": mark, "held_by": held, "rungs": rows}
        del model
    result = {"device": options.device, "torch": torch.__version__, "shapes": found, "left_out": left_out}
    if options.device.startswith("cuda"):
        result["gpu"] = torch.cuda.get_device_name()
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

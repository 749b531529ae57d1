"""What a grid of the Effective Block Analyzer costs, beside the same pictures ordered one by one, in one run.

    python bench/analyzer.py --json

The studio draws a grid on the pocket model: the source, each block of the file, the source again; then the same
pictures one after another, each an order of its own with its weights in the tag. Told are processor seconds, their
ratio, and how often the text encoder was asked for the grid: a cell is to cost its denoising and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_lora.process import unset

os.environ.update(unset())  # before torch is loaded, as the studio does

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.demo import settings as use
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio import StudioHost
from lib_lora.progress import Progress
from lib_lora.services.analysis_order import analyze_order, order_of
from lib_lora.services.file_facts import FileFacts

SHIPPED = Path(use.HERE) / "shipped"


def seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a work gives and the processor seconds that it takes."""
    began = time.process_time()
    made = work()
    return made, time.process_time() - began


def measure(host: StudioHost, steps: int) -> dict[str, Any]:
    """Draw a grid and its pictures singly."""
    request = GenerateRequest(f"{use.TRIGGER} <lora:{use.NAME}:1:XYZ>", seed=1, steps=steps)
    order = order_of(request, AnalyzeOptions(), host, FileFacts(host))
    host.generate(GenerateRequest("apple", seed=1, steps=1), Progress())  # what the first picture of all costs
    calls: list[int] = []
    counting = host.model.text_encoders[0].register_forward_hook(lambda *_: calls.append(1))
    found, grid = seconds(lambda: analyze_order(order, host, Progress()))
    counting.remove()
    assert calls, "nobody encoded a text: the count would say nothing"
    (plan,) = order.plans
    entries = [entry for entry in plan.entries if any(block in order.filled for block in entry)]
    vectors = [plan.source(), *(plan.weights(entry) for entry in entries), plan.source()]

    prompts = [request.prompt.replace("XYZ", weights.format()) for weights in vectors]
    _, single = seconds(lambda: [host.generate(replace(request, prompt=one), Progress()) for one in prompts])
    return {
        "pictures": len(vectors),
        "grid_cpu_seconds": round(grid, 2),
        "single_cpu_seconds": round(single, 2),
        "ratio": round(grid / single, 3),
        "text_encoder_calls_in_grid": len(calls),
        "finished": found.analyses[0].finished,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    host = StudioHost.open(device="auto")
    host.lora_folders = (SHIPPED,)
    found = measure(host, options.steps)
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()

"""How long the analyzer's first tier takes for a file of full size: rank 128 on every attention layer of SD1.5, fp16.

    python bench/tiers.py --json

The model has the shapes of SD1.5 and random weights, so nothing is fetched. Reading the file and measuring it are told
apart; with and without a model below.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_lora.process import unset

os.environ.update(unset())  # before torch is loaded, as the studio does

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lib_lora.analysis.tiers.norm_tier import measure_norms
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile, read_lora, write_lora

_PARTS = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "proj_in", "proj_out")
_TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def model_of_full_size(dtype: torch.dtype = torch.float16) -> Any:
    """Return what attaching needs of a model, with the layers of SD1.5 and random weights; ``unet`` is its UNet."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8).to(dtype).requires_grad_(False)
    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
    text = CLIPTextModel(config).to(dtype).requires_grad_(False)
    layers = {}
    for start, network, ends in (("lora_unet", unet, _PARTS), ("lora_te", text, _TEXT)):
        for name, layer in network.named_modules():
            if name.endswith(ends) and hasattr(layer, "weight") and "time_emb" not in name:
                path = name if start == "lora_unet" or name.startswith("text_model") else f"text_model.{name}"
                layers[f"{start}_{path.replace('.', '_')}"] = layer
    return SimpleNamespace(family="sd1", layers=layers, norms={}, name="SD1.5 shapes", unet=unet)


def lora_on(model: Any, rank: int) -> LoraFile:
    """Return a LoRA with random factors on all of a model's layers."""
    adapters = {}
    for key, layer in model.layers.items():
        fresh = LoraAdapter.new(key, layer, rank=rank, alpha=rank)
        up = torch.randn(fresh.up.shape) * 0.01
        adapters[key] = fresh.with_parameters([up, fresh.down.detach()])
    return LoraFile(adapters)


def _timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return what a work gives, and its seconds by the clock and of the processor's cores."""
    clock, cores = time.perf_counter(), time.process_time()
    made = work()
    return made, {
        "seconds": round(time.perf_counter() - clock, 2),
        "core_seconds": round(time.process_time() - cores, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = model_of_full_size()
    with tempfile.TemporaryDirectory() as place:
        path = write_lora(lora_on(model, options.rank), Path(place) / "full.safetensors", dtype=torch.float16)
        lora, reading = _timed(lambda: read_lora(path))
        _, alone = _timed(lambda: measure_norms(lora))
        _, whole = _timed(lambda: measure_norms(lora, model))
        found = {
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "modules": len(lora.adapters),
            "threads": options.threads,
            "read": reading,
            "file_alone": alone,
            "with_model": whole,
        }
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()

"""Run one of sd-scripts' tools as it is, its loader of whole models replaced by one of the layers that are there.

Called as ``python -m bench.mergers.reference SD_SCRIPTS TOOL ARGUMENTS…`` by the interpreter that has its packages.
What it would spend on loading and building a whole model is left out, to its favor.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import torch

from bench.trainers.stand_in import without_torchvision

ROOT, TEXT = "model.diffusion_model.", "cond_stage_model.transformer."
_DIFFUSERS = {1: (0, 0), 2: (0, 1), 4: (1, 0), 5: (1, 1), 7: (2, 0), 8: (2, 1)}
"""Input blocks with attention as (level, number)."""


class Transformer2DModel(torch.nn.Module):
    """Stands for diffusers' class, whose name the tool looks for."""


class CLIPAttention(torch.nn.Module):
    """Stands for transformers' class, whose name the tool looks for."""


def grown(weights: dict[str, torch.Tensor], kind: type[torch.nn.Module], depth: int) -> torch.nn.Module:
    """Return a tree of modules with a Linear for each weight; at ``depth`` a ``kind``."""
    root = torch.nn.Module()
    for path, weight in weights.items():
        place, steps = root, path.split(".")
        for number, step in enumerate(steps[:-1], start=1):
            if not hasattr(place, step):
                place.add_module(step, kind() if number == depth else torch.nn.Module())
            place = getattr(place, step)
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        place.add_module(steps[-1], linear)
    return root


def load(v2: bool, path: str, *_: Any, **__: Any) -> tuple[Any, None, Any]:
    """Return text encoder, no autoencoder, and UNet of the layers that are in a checkpoint."""
    from safetensors.torch import load_file

    text, unet = {}, {}
    for name, weight in load_file(path).items():
        if name.startswith(ROOT):
            _, block, _, rest = name[len(ROOT) :].removesuffix(".weight").split(".", 3)
            level, number = _DIFFUSERS[int(block)]
            unet[f"down_blocks.{level}.attentions.{number}.{rest}"] = weight
        else:
            text[name[len(TEXT) :].removesuffix(".weight")] = weight
    return grown(text, CLIPAttention, 5), None, grown(unet, Transformer2DModel, 4)


def main() -> None:
    """Run the tool with the arguments behind its name."""
    home, tool, *arguments = sys.argv[1:]
    sys.path[:0] = [str(Path(home) / "networks"), home]
    without_torchvision()
    from library import model_util

    model_util.load_models_from_stable_diffusion_checkpoint = load
    torch.set_num_threads(1)
    sys.argv = [tool, *arguments]
    runpy.run_path(str(Path(home) / "networks" / tool), run_name="__main__")


if __name__ == "__main__":
    main()

"""Run one of sd-scripts' tools as it is, its loader of whole models replaced by one of the layers that are there.

Called as ``python -m bench.mergers.reference SD_SCRIPTS TOOL ARGUMENTS…`` by the interpreter that has its packages.
What it would spend on loading and building a whole model is left out, to its favor.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

from bench.trainers.stand_in import without_torchvision
from lib_lora.formats.keys import to_diffusers

ROOT, TEXT = "model.diffusion_model.", "cond_stage_model.transformer."


class Transformer2DModel(torch.nn.Module):
    """Stands for diffusers' class, whose name the tool looks for."""


class CLIPAttention(torch.nn.Module):
    """Stands for transformers' class, whose name the tool looks for."""


class CLIPMLP(torch.nn.Module):
    """Stands for transformers' class, whose name the tool looks for."""


KINDS = {r"attentions\.\d+": Transformer2DModel, r"self_attn": CLIPAttention, r"mlp": CLIPMLP}


def grown(weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Return a tree of modules with a Linear for each weight, and the classes that the tool looks for above them."""
    root = torch.nn.Module()
    for path, weight in weights.items():
        place, steps = root, path.split(".")
        for number, step in enumerate(steps[:-1], start=1):
            if not hasattr(place, step):
                here = ".".join(steps[:number])
                kind = next((k for end, k in KINDS.items() if re.search(rf"(^|\.){end}$", here)), torch.nn.Module)
                place.add_module(step, kind())
            place = getattr(place, step)
        linear = torch.nn.Linear(1, 1, bias=False)
        linear.in_features, linear.out_features = weight.shape[1], weight.shape[0]
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        place.add_module(steps[-1], linear)
    return root


def load(v2: bool, path: str, *_: Any, **__: Any) -> tuple[Any, None, Any]:
    """Return text encoder, no autoencoder, and UNet of the layers that are in a checkpoint."""
    from safetensors.torch import load_file

    text, unet = {}, {}
    for name, weight in load_file(path).items():
        if name.startswith(ROOT):
            unet[to_diffusers(name[len(ROOT) :].removesuffix(".weight"), "sd1")] = weight
        else:
            text[name[len(TEXT) :].removesuffix(".weight")] = weight
    return grown(text), None, grown(unet)


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

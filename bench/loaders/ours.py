"""Our side: a file of every kind that is trained, and what it changes, for a loader of another program to repeat."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.loaders.models import SHAPES, model_of, text_configs, training_of
from bench.trainers.model import TOKENIZER
from lib_lora.formats.keys import to_ldm
from lib_lora.formats.lora import read_lora
from lib_lora.host.studio.model import DiffusersModel
from lib_lora.live.attach import attach
from lib_lora.train.saving import save_lora
from lib_lora.train.step import one_step

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"network": "lora"},
    "locon": {"network": "locon", "conv_dim": 3, "conv_alpha": 2.0},
    "loha": {"network": "loha", "conv_dim": 3, "conv_alpha": 2.0},
    "lokr": {"network": "lokr", "conv_dim": 3, "conv_alpha": 2.0},
    "dora": {"network": "locon", "conv_dim": 3, "conv_alpha": 2.0, "dora": True},
}
FAMILIES = {"sd1": "small sd1", "sd2": "small sd2", "sdxl": "small sdxl"}
STEPS = 3
"""The first moves only one half of a LoRA, which begins at 0."""


def write_model(family: str, folder: Path) -> DiffusersModel:
    """Write the parts of a small random model as the loaders open them; return it."""
    shape = SHAPES[FAMILIES[family]]
    model = model_of(shape, torch.device("cpu"))
    folder.mkdir(parents=True)
    _save(model.unet, folder / "unet.safetensors")
    for number, text in enumerate(model.text_encoders):
        _save(text, folder / f"text{number}.safetensors")
    facts = {
        "family": family,
        "widths": shape["widths"],
        "depth": shape.get("depth"),
        "side": shape["side"],
        "text": text_configs(shape, len(model.tokenizer)),
        "unet": dict(model.unet.config),
        "tokenizer": str(TOKENIZER),
        "ldm": {name: to_ldm(name, family) for name in model.unet.state_dict()} if family == "sdxl" else None,
    }
    (folder / "model.json").write_text(json.dumps(facts, default=str), encoding="utf-8")
    return model


def _save(part: nn.Module, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in part.state_dict().items()}, path)


def write_file(model: DiffusersModel, kind: str, folder: Path) -> Path:
    """Train a kind for a few steps and save it as the program does; beside it lies what it changes, by its keys."""
    values = {"kind": "concept", "optimizer": "AdamW", "learning_rate": 1e-2, "dim": 4, "alpha": 3.0, "steps": STEPS}
    place = folder / kind
    training = training_of(model, SHAPES[FAMILIES[model.family]], values | KINDS[kind], place, pictures=2)
    with attach(model, training.lora, 1.0, strategy="factors") as attached:
        training.attached = attached
        for _ in range(STEPS):
            one_step(training)
    path = save_lora(training, place / "file.safetensors")
    lora = read_lora(path).to(model.device)
    changes = {key: adapter.delta(model.layers[key].weight) for key, adapter in lora.adapters.items()}
    save_file({key: change.detach().contiguous() for key, change in changes.items()}, place / "ours.safetensors")
    return path


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash over the names and shapes of a file's tensors: what a loader matches them by."""
    lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

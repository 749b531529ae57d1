"""What a live host is given: a checkpoint with its config, and LoRAs made of seeded random numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.header import read_header
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.train.network import target_keys
from tests.webui.live import LiveHost

POCKET = Path(__file__).resolve().parents[2] / "lib_lora" / "host" / "pocket"


def checkpoint() -> Path:
    """Return the checkpoint that the host gets: WEBUI_CHECKPOINT, else the pocket model."""
    return Path(os.environ.get("WEBUI_CHECKPOINT") or POCKET / "pocket.safetensors")


def config_of(path: Path) -> str:
    """Return the ``.yaml`` beside a checkpoint, its text encoder's folder made absolute; "" where there is none."""
    beside = path.with_suffix(".yaml")
    if not beside.is_file():
        return ""
    text = beside.read_text(encoding="utf-8")
    return text.replace("extensions/lora-atelier/lib_lora/host/pocket/text", str(POCKET / "text"))


def prepare_pocket(host: LiveHost) -> None:
    """Make a host's data folder with the checkpoint and the LoRAs ``plain``, ``other`` and ``locon``."""
    model = checkpoint()
    host.side = 128 if model.parent == POCKET else 64  # a full-size model takes seconds a step on a CPU
    host.prepare(model, config=config_of(model))
    layers = layers_of(model)
    add_lora(host, "plain", layers, seed=1)
    add_lora(host, "other", layers, seed=2)
    add_lora(host, "locon", layers, seed=3, conv=True)


@dataclass(frozen=True)
class Layers:
    """Enough of a loaded model to make LoRAs for it."""

    layers: Mapping[str, nn.Module]
    family: str


def layers_of(model: Path) -> Layers:
    """Return the layers of a checkpoint by their kohya names, without their weights (no memory, no time)."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from lib_lora.host.studio import ldm_config as arch
    from lib_lora.host.studio.model import _layers

    shapes = {name: tuple(info.shape) for name, info in read_header(model).tensors.items()}
    family, heads = arch.family_of_checkpoint(shapes, where=str(model)), arch.LdmConfig.beside(model).heads
    if family != "sd1":
        raise ValueError(f"the live tests make LoRAs for SD1 checkpoints only, not for {family}")
    prefix = "cond_stage_model.transformer.text_model."
    with torch.device("meta"):
        unet = UNet2DConditionModel(**arch.unet_config(shapes, family, heads, where=str(model)))
        text = CLIPTextModel(CLIPTextConfig(**arch.clip_config(shapes, prefix)))
    return Layers(_layers(unet, (text,), family), family)


def make_lora(
    model: Layers, *, seed: int = 0, rank: int = 4, conv: bool = False, text: bool = True, size: float = 0.2
) -> LoraFile:
    """Return a LoRA (``conv``: a LoCon) on all usual layers, strong enough to change every picture."""
    generator = torch.Generator().manual_seed(seed)
    adapters = {}
    for key in target_keys(model, conv=conv):
        if not text and key.startswith("lora_te"):
            continue
        layer = model.layers[key]
        shapes = LoraAdapter.new(key, layer, rank=rank, alpha=rank)
        up = torch.randn(shapes.up.shape, generator=generator, device="cpu") * size / rank
        down = torch.randn(shapes.down.shape, generator=generator, device="cpu") / shapes.down[0].numel() ** 0.5
        adapters[key] = LoraAdapter(key, up, down, None, float(rank))
    return LoraFile(adapters)


def add_lora(host: LiveHost, name: str, model: Layers, **wanted: object) -> Path:
    """Write a LoRA into the host's folder; it lists it after `LiveHost.refresh_loras` or at its start."""
    path = host.loras / f"{name}.safetensors"
    write_lora(make_lora(model, **wanted), path, overwrite=True)  # type: ignore[arg-type]
    return path

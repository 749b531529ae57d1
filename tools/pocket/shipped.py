"""Put the shipped pocket model into a work folder, so that its UNet and text encoder learn on: `learn.py --go-on`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

START, BEFORE = "start.pt", "before.json"
"""The weights and the scale of the latents that a training begins with; how those were made."""

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "lib_lora" / "host" / "pocket"


def unpack(work: Path) -> None:
    """Write the shipped autoencoder as ``vae.pt``, the two other networks as ``start.pt``, and their history."""
    sys.path.insert(0, str(ROOT))
    from lib_lora.host.studio import StudioHost

    model = StudioHost.open(device="cpu").model
    torch.save(_floats(model.vae), work / "vae.pt")
    networks = {"unet": _floats(model.unet), "text": _floats(model.text_encoders[0])}
    torch.save(networks | {"scale": model.latent_scale}, work / START)
    history = json.loads((SHIPPED / "training.json").read_text(encoding="utf-8"))
    (work / "vae.json").write_text(json.dumps(history["autoencoder"], indent=1), encoding="utf-8")
    (work / BEFORE).write_text(json.dumps(history["model"], indent=1), encoding="utf-8")


def _floats(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.float() for name, value in network.state_dict().items()}

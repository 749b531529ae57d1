"""The parameters of a LoRA by name, for a state file and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lib_lora.formats.lora import LoraFile


def parameters_of(lora: LoraFile) -> dict[str, Tensor]:
    """Return what is trained, by name, for a state file."""
    return {
        f"{key}.{n}": p.detach() for key, adapter in lora.adapters.items() for n, p in enumerate(adapter.parameters())
    }


def load_parameters(lora: LoraFile, saved: Mapping[str, Tensor]) -> None:
    """Put saved values back into the parameters of ``lora``, in place."""
    with torch.no_grad():
        for key, adapter in lora.adapters.items():
            for n, parameter in enumerate(adapter.parameters()):
                parameter.copy_(saved[f"{key}.{n}"])

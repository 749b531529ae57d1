"""The parameters of a LoRA: by name for a state file and back, and in groups by their share of the rate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.train.network.places import Learning, is_text
from lib_lora.train.options import TrainOptions
from lib_lora.train.ratio_optimizer import Group


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


def groups(lora: LoraFile, options: TrainOptions, family: str) -> list[Group]:
    """Return the parameters with their ratios, in sd-scripts' order: text encoder, then the UNet's blocks as they come.

    Of each the up halves follow the rest where LoRA+ makes them faster (arXiv:2402.12354). Blocks of one ratio are one
    group.
    """
    learning = Learning.of(options, family)
    text_plus, unet_plus = options.loraplus
    found: dict[tuple[bool, float, bool], list[Tensor]] = {}
    for text in (True, False):
        for key, adapter in lora.adapters.items():
            if is_text(key) is not text:
                continue
            rate, plus = learning.rate(key), text_plus if text else unet_plus
            up = _up_of(adapter) if plus != 1 else None
            for parameter in adapter.parameters():
                faster = parameter is up
                found.setdefault((text, rate, False), [])
                found.setdefault((text, rate, faster), []).append(parameter)
    return [
        Group(parameters, rate * ((text_plus if text else unet_plus) if faster else 1.0))
        for (text, rate, faster), parameters in found.items()
    ]


def _up_of(adapter: object) -> Tensor | None:
    """Return the half of a LoRA that begins at 0; None of a kind without."""
    inner = adapter.inner if isinstance(adapter, DoraAdapter) else adapter
    return inner.up if isinstance(inner, LoraAdapter) else None

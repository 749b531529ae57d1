"""Which parameters learn at which share of the rate."""

from __future__ import annotations

from torch import Tensor

from lib_lora.formats.lora import LoraFile
from lib_lora.train.options import TrainOptions
from lib_lora.train.ratio_optimizer import Group


def groups(lora: LoraFile, options: TrainOptions) -> list[Group]:
    """Return the text encoder's and the UNet's parameters with their ratios."""
    text: list[Tensor] = []
    unet: list[Tensor] = []
    for key, adapter in lora.adapters.items():
        (text if key.startswith("lora_te") else unet).extend(adapter.parameters())
    return [Group(text, options.text_encoder_ratio), Group(unet, options.unet_ratio)]

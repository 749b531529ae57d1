"""What a file says of its network besides rank and alpha: ``ss_network_args``, in sd-scripts' and LyCORIS' words."""

from __future__ import annotations

import json

from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import network_facts
from lib_lora.train.block_numbers import recorded
from lib_lora.train.options import TrainOptions

NUMBERS = (
    "rank_dropout",
    "module_dropout",
    "loraplus_lr_ratio",
    "loraplus_unet_lr_ratio",
    "loraplus_text_encoder_lr_ratio",
)
"""Options that sd-scripts takes as network arguments, each where it is not 0."""


def arguments(lora: LoraFile, options: TrainOptions, family: str) -> str:
    """Return the arguments as JSON, each value a text."""
    found = json.loads(network_facts(lora.adapters)["ss_network_args"])
    found |= {name: str(value) for name in NUMBERS if (value := getattr(options, name))}
    found |= recorded(options, family)
    if options.rslora:
        found["rs_lora"] = "True"
    if options.network == "lokr":
        found["factor"] = str(options.lokr_factor)
    if options.train_blocks:
        found["train_blocks"] = options.train_blocks
    if options.timestep_rank:
        found |= {"timestep_rank": "True", "timestep_rank_min": str(options.timestep_rank_min)}
    return json.dumps(found)

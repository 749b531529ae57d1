"""The LoRA that is trained: which layers get an adapter, how each kind begins, and how fast its parameters learn."""

from __future__ import annotations

from lib_lora.train.network.arguments import arguments
from lib_lora.train.network.build import new_lora, trained_numbers
from lib_lora.train.network.continued import Base, bases, remarks_on_beginning
from lib_lora.train.network.masks import Masks
from lib_lora.train.network.norms import Norms, limit_norms
from lib_lora.train.network.parameters import groups, load_parameters, parameters_of
from lib_lora.train.network.places import Place, places, target_keys

__all__ = [
    "Base",
    "Masks",
    "Norms",
    "Place",
    "arguments",
    "bases",
    "groups",
    "limit_norms",
    "load_parameters",
    "new_lora",
    "parameters_of",
    "places",
    "remarks_on_beginning",
    "target_keys",
    "trained_numbers",
]

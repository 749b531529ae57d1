"""Changes measured beside the model: how strong its own layers are."""

from __future__ import annotations

from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import HasLayers, find_targets
from lib_lora.merge.difference import knows
from lib_lora.merge.rank import largest_singular_value
from lib_lora.merge.rank_rule import Largest, RankRule, no_model
from lib_lora.sentences import say


def largest_of(model: HasLayers | None, lora: LoraFile, rule: RankRule) -> Largest | None:
    """Return what tells the largest singular value of the model's own weight at a module; None where no rule asks.

    Raises:
        InputError: the rule asks for a model, and none of the LoRA's family is known, or the LoRA does not fit it.
            What is returned raises it for a module that fits no layer.
    """
    if rule.kind != "base_ratio":
        return None
    if model is None or not knows(model, lora.family):
        raise no_model()
    layers = {target.adapter.key: target.layer for target in find_targets(model, lora)[0]}

    def largest(key: str) -> float:
        if key not in layers:
            cure = say("Prune it first, or choose another rule.")
            raise InputError("This module fits no layer of the model, so it cannot be compared", where=key, cure=cure)
        return largest_singular_value(layers[key].weight.flatten(1))

    return largest

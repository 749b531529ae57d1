"""Changes that depend on the model's weights: refused where no model is known, with one made into full differences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, BiasAdapter, FullAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import HasLayers, find_targets


def dependent(adapters: Iterable[Adapter]) -> tuple[str, ...]:
    """Return what people call the kinds of those adapters whose change depends on the model's weights."""
    return tuple(sorted({adapter.title for adapter in adapters if adapter.needs_weight}))


def refuse_dependent(lora: LoraFile) -> None:
    """Refuse to compress a LoRA with changes that nobody knows without its model.

    Raises:
        InputError: it holds such kinds; they are named.
    """
    kinds = ", ".join(dependent(lora.adapters.values()))
    if kinds:
        what = f"A LoRA of the kind {kinds} cannot be compressed: its change depends on the model's weights"
        cure = "Make full differences of it first, with the model that it was made for."
        raise InputError(what, where=lora.name, cure=cure)


def as_differences(lora: LoraFile, model: HasLayers) -> LoraFile:
    """Return the LoRA with every change that depends on the model's weights as a full difference, for this model only.

    Modules that fit no layer of the model are left out; the other kinds stay as they are.

    Raises:
        InputError: the LoRA fits none of the model's layers, or one of another size.
    """
    targets, unmatched = find_targets(model, lora)
    adapters = dict(lora.adapters)
    for target in targets:
        if target.adapter.needs_weight:
            adapters[target.adapter.key] = difference(target.adapter, target.layer)
    for key in unmatched:
        if adapters[key].needs_weight:
            del adapters[key]
    return replace(lora, adapters=adapters)


def difference(adapter: Adapter, layer: nn.Module) -> Adapter:
    """Return an adapter's change of a layer as a full difference, its change of the bias beside it."""
    dtype, weight = adapter.parameters()[0].dtype, layer.weight
    full = FullAdapter(adapter.key, adapter.delta(weight).reshape(weight.shape).detach().to("cpu", dtype))
    bias = getattr(layer, "bias", None)
    change = adapter.bias_delta(None if bias is None else bias.detach())
    return full if change is None else BiasAdapter(adapter.key, full, change.detach().to("cpu", dtype))

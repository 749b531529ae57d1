"""Changes that depend on the model's weights: refused where no model is known, with one made into full differences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from torch import nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, BiasAdapter, FullAdapter
from lib_lora.formats.adapters.on_disk import Scratch, StoredAdapters
from lib_lora.formats.lora import LoraFile
from lib_lora.live.targets import HasLayers, find_targets, misfit
from lib_lora.sentences import say


def dependent(adapters: Iterable[Adapter]) -> tuple[str, ...]:
    """Return what people call the kinds of those adapters whose change depends on the model's weights."""
    return tuple(sorted({adapter.title for adapter in adapters if adapter.needs_weight}))


def refuse_dependent(lora: LoraFile) -> None:
    """Refuse to compress a LoRA with changes that nobody knows without its model.

    Raises:
        InputError: it holds such kinds; they are named.
    """
    kinds = dependent(lora.outline.values())
    if kinds:
        what = say(
            "A LoRA of the kind {kinds} cannot be compressed: its change depends on the model's weights", kinds=kinds
        )
        cure = say("Make full differences of it first, with the model that it was made for.")
        raise InputError(what, where=lora.name, cure=cure)


def as_differences(lora: LoraFile, model: HasLayers, keys: Collection[str] | None = None) -> LoraFile:
    """Return the LoRA with changes that depend on the model's weights as full differences, for this model only.

    Those of ``keys``, None for all of them; such a module that fits no layer of the model is left out. Notes tell both.
    They are made at once, of the weights as they are now, and wait on the disk.

    Raises:
        InputError: the LoRA fits none of the model's layers, or one of another size.
    """
    targets, unmatched = find_targets(model, replace(lora, adapters=lora.outline))
    moving = {key for key, one in lora.outline.items() if one.needs_weight and (keys is None or key in keys)}
    gone = [key for key in unmatched if key in moving]
    layers = {one.adapter.key: one.layer for one in targets if one.adapter.key in moving}
    outline = {key: adapter for key, adapter in lora.outline.items() if key not in gone}
    made = Scratch()
    made.update((key, difference(lora.adapters[key], layer)) for key, layer in layers.items())
    outline |= made.outline
    adapters = StoredAdapters(outline, lambda key: made[key] if key in made else lora.adapters[key])
    notes = list(lora.notes)
    if len(moving) > len(gone):
        name = getattr(model, "name", "") or model.family
        notes.append(
            say(
                "{n} {n:module is a full difference now, which fits|modules are full differences now, which "
                "fit} the model {name} only.",
                n=len(moving) - len(gone),
                name=name,
            )
        )
    if gone:
        notes.append(misfit(lora.name, gone, of=len(lora.adapters)))
    return replace(lora, adapters=adapters, notes=tuple(notes))


def known(lora: LoraFile, multipliers: Mapping[str, float], model: HasLayers | None, *, alone: bool) -> LoraFile:
    """Return the LoRA as it can be merged: what depends on the model's weights as full differences where it has to be.

    Args:
        lora: the file.
        multipliers: of its blocks.
        model: None where none is known; one of another family, or one whose weights are not its own now, is not used.
        alone: whether it is only baked, neither added to another LoRA nor compressed.
    """
    moving = depending(lora, multipliers, alone=alone)
    if not moving or model is None or not knows(model, lora.family):
        return lora
    return as_differences(lora, model, moving)


def depending(lora: LoraFile, multipliers: Mapping[str, float], *, alone: bool) -> set[str]:
    """Return the keys of what can be merged so only where the model's weights are known; see `known`."""
    blocks = lora.blocks()
    asked = {key for block, keys in blocks.items() for key in keys if multipliers.get(block, 1.0) not in (0.0, 1.0)}
    moving = {key for key, one in lora.outline.items() if one.needs_weight}
    if alone:  # a multiple of a linear kind, and 0 or 1 of any, needs no model
        moving = {key for key in moving & asked if not lora.outline[key].is_linear}
    return moving


def knows(model: HasLayers | None, family: str) -> bool:
    """Whether a model tells the weights that a LoRA of this family changes: its own, with no other LoRA in them."""
    return model is not None and model.family == family and getattr(model, "own_weights", False)


def difference(adapter: Adapter, layer: nn.Module) -> Adapter:
    """Return an adapter's change of a layer as a full difference, its change of the bias beside it."""
    dtype, weight = adapter.parameters()[0].dtype, layer.weight
    full = FullAdapter(adapter.key, adapter.delta(weight).reshape(weight.shape).detach().to("cpu", dtype))
    bias = getattr(layer, "bias", None)
    change = adapter.bias_delta(None if bias is None else bias.detach())
    return full if change is None else BiasAdapter(adapter.key, full, change.detach().to("cpu", dtype))

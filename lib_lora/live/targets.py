"""Which live layer each adapter of a LoRA file acts on, and how strongly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from torch import Tensor, nn

from lib_lora.blocks.elements import ElementRules
from lib_lora.blocks.layouts import BASE, OTHER, full_layout
from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.layer import weight_of
from lib_lora.formats.dialects import settled_key
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile
from lib_lora.sentences import say

_BUNDLED = "bundle_emb."
_TEXT = "lora_te"

Strength: TypeAlias = float | Tensor
"""A multiplier: one number, or one number per sample of the batch ``(n,)``."""
_S = TypeVar("_S", bound=Strength)


class HasLayers(Protocol):
    """The part of a `LoadedModel` that attaching needs."""

    family: str
    layers: Mapping[str, nn.Module]


@dataclass(frozen=True)
class Target:
    """One adapter, the live layer it acts on, and the block that the layer stands in."""

    adapter: Adapter
    layer: nn.Module
    block: str


def find_targets(model: HasLayers, lora: LoraFile) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Return the targets of ``lora`` on ``model`` and the keys that match no layer.

    Raises:
        InputError: no key at all matches: the file is made for another family of models; or a layer has another size,
            or a weight that a change depends on is quantized.
    """
    found, unmatched = [], []
    for key, adapter in lora.adapters.items():
        layer = _layer(model, key)
        if layer is None:  # a file that says too little of its family, such as a text encoder's alone
            layer = _layer(model, settled_key(key, model.family))
        if layer is None:
            unmatched.append(key)
        else:
            found.append(Target(adapter, layer, block_of_key(key, model.family)))
    if not found:
        raise fits_nothing(lora, model.family)
    for target in found:
        try:
            target.adapter.fitting_shape(target.layer)
        except InputError as error:
            raise (_of_another_family(lora, model.family) or error) from error
        if target.adapter.needs_weight:
            weight_of(target.layer)
    return tuple(found), tuple(unmatched)


def _of_another_family(lora: LoraFile, family: str) -> InputError | None:
    """Return what is wrong where the file says that it is of another family; layers may have the same names there."""
    if lora.family in ("unknown", family):
        return None
    where = say("{name}: made for {family}, the model is {other}", name=lora.name, family=lora.family, other=family)
    return InputError(
        "This LoRA is for another kind of model", where=where, cure="Choose a LoRA of the model's family."
    )


def fits_nothing(lora: LoraFile, family: str) -> InputError:
    """Return the error of a LoRA that changes no layer of a model of this family."""
    where = say("{name}: made for {family}, the model is {other}", name=lora.name, family=lora.family, other=family)
    what = say("This LoRA fits none of the model's layers (0 of {n})", n=len(lora.adapters))
    return InputError(what, where=where, cure="Choose a LoRA of the model's family.")


def _layer(model: HasLayers, key: str) -> nn.Module | None:
    """Return the live layer of a key: a Linear, a convolution, or a normalization, where the host tells those."""
    found = model.layers.get(key)
    return getattr(model, "norms", {}).get(key) if found is None else found


def left_out(model: HasLayers, lora: LoraFile) -> tuple[str, ...]:
    """Return what of a file does not act on ``model``, and what was assumed on reading it: sentences for people.

    Raises:
        InputError: nothing of it acts; as `find_targets`.
    """
    _, unmatched = find_targets(model, lora)
    notes: list[str] = [say("{name}: {said}", name=lora.name, said=note) for note in lora.notes]
    if unmatched:
        notes.append(misfit(lora.name, unmatched, of=len(lora.adapters)))
    return (*notes, *unused_extras(lora))


def unused_extras(lora: LoraFile) -> tuple[str, ...]:
    """Return what is to be said of a file's tensors that belong to no module: embeddings and strangers."""
    notes = []
    bundled = {name.split(".")[1] for name in lora.extras if name.startswith(_BUNDLED)}
    others = [name for name in lora.extras if not name.startswith(_BUNDLED)]
    if bundled:
        notes.append(
            say("The embeddings bundled in {name} are not used here ({names}).", name=lora.name, names=sorted(bundled))
        )
    if others:
        notes.append(
            say(
                "{n} {n:tensor|tensors} of {name} {n:is none of a LoRA's and|are none of a LoRA's and are} not "
                "used (e.g. {example}).",
                n=len(others),
                name=lora.name,
                example=others[0],
            )
        )
    return tuple(notes)


def misfit(name: str, keys: Sequence[str], *, of: int) -> str:
    """Return the sentence that names modules of a file which fit no layer: how many ``of`` all, and examples."""
    found = (next((key for key in keys if key.startswith(_TEXT) is text), "") for text in (False, True))
    examples = ", ".join(filter(None, found))
    return say(
        "{n} of {all} modules of {name} fit no layer of this model (e.g. {keys}).",
        n=len(keys),
        all=of,
        name=name,
        keys=examples,
    )


def uniform_multipliers(family: str, strength: float = 1.0) -> dict[str, float]:
    """Return the same strength for every block of ``family``, BASE and the layers outside all blocks."""
    return dict.fromkeys((*full_layout(family).names, BASE, OTHER), strength)


def multiplier_of(block: str, multipliers: Mapping[str, _S]) -> _S:
    """Return a block's multiple: a number, or one for each sample.

    Raises:
        InputError: it is missing or not finite.
    """
    if block not in multipliers:
        raise InputError("No strength is given for a block of this LoRA", where=block, cure="Give it a number.")
    q = multipliers[block]
    if not isinstance(q, Tensor) and not math.isfinite(q):
        raise InputError("A strength must be a finite number, not {value}", value=q, where=block, cure="Change it.")
    return q


def strength_of(
    target: Target, multipliers: Mapping[str, Strength], elements: ElementRules | None, strength: float
) -> Strength:
    """Return the multiplier of one target; an element rule replaces the block's weight, not the tag's strength."""
    if elements is not None:
        ratio = elements.ratio(target.block, target.adapter.key)
        if ratio is not None:
            return ratio * strength
    return multiplier_of(target.block, multipliers)

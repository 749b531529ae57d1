"""A fresh adapter of every kind that is trained, on the layers of a model."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.layer import weight_of
from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lokr import LokrAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import LoadedModel
from lib_lora.live.attach import own_numbers
from lib_lora.train.network.continued import continued
from lib_lora.train.network.places import Place, places
from lib_lora.train.options import TrainOptions

KINDS: Mapping[str, type[Adapter]] = {
    "lora": LoraAdapter,
    "locon": LoraAdapter,
    "loha": LohaAdapter,
    "lokr": LokrAdapter,
}
"""The option ``network`` -> the kind of adapter that it trains."""


def new_lora(model: LoadedModel, options: TrainOptions) -> LoraFile:
    """Return a fresh LoRA on ``model`` that changes nothing yet.

    Raises:
        InputError: no layer is left to train, or the LoRA that is continued does not fit; FileError: it cannot be read.
    """
    if options.continue_from:
        return continued(model, options)
    generator = torch.Generator().manual_seed(options.seed)
    # A host may keep a part of its model in main memory until it runs: the LoRA goes where the work is done.
    adapters = {one.key: _fresh(one, options, generator, model.device) for one in places(model, options)}
    if not adapters:
        where = "unet_ratio, text_encoder_ratio" + (", train_blocks" if options.train_blocks else "")
        raise InputError("No layer of the model is left to train", where=where)
    return LoraFile(adapters=adapters, metadata={}, extras={}, path=None)


def trained_numbers(model: LoadedModel, options: TrainOptions) -> int:
    """Return how many numbers a run trains; nothing is made of them."""
    if options.continue_from:
        begun = continued(model, options)
        return sum(p.numel() for adapter in begun.adapters.values() for p in adapter.parameters())
    numbers: dict[tuple[object, ...], int] = {}
    total = 0
    for one in places(model, options):
        alike = (type(one.layer), one.layer.weight.shape, one.rank)
        if alike not in numbers:
            made = _fresh(one, options, None, torch.device("meta"))
            numbers[alike] = sum(parameter.numel() for parameter in made.parameters())
        total += numbers[alike]
    return total


def _fresh(
    place: Place, options: TrainOptions, generator: torch.Generator | None, device: torch.device | None
) -> Adapter:
    """Return the adapter that a run begins with on one layer."""
    more = {"factor": options.lokr_factor} if options.network == "lokr" else {}
    made = KINDS[options.network].new(
        place.key, place.layer, rank=place.rank, alpha=place.alpha, generator=generator, device=device, **more
    )
    if not options.dora:
        return made
    weight_of(place.layer)  # refuses numbers that are kept in another form
    return DoraAdapter.around(made, own_numbers(place.layer)[0])

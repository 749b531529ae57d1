"""A training that goes on from a LoRA file: what is there brings kind, rank and alpha of each layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lokr import LokrAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile, read_lora
from lib_lora.formats.metadata import network_facts
from lib_lora.host.base import LoadedModel
from lib_lora.live.targets import find_targets, misfit
from lib_lora.sentences import say
from lib_lora.train.network.places import Learning
from lib_lora.train.options import TrainOptions
from lib_lora.train.options.network import split_strength

_TRAINED = (LoraAdapter, LohaAdapter, LokrAdapter)


def continued(model: LoadedModel, options: TrainOptions) -> LoraFile:
    """Return the LoRA of ``continue_from`` with parameters in fp32 on the model's device.

    Layers that the options leave out (a ratio or a rate of 0, blocks that are not named) stay in it as they are.

    Raises:
        FileError: the file cannot be read. InputError: it was made for another family of models, holds a kind that is
            not trained, or nothing of it is left to train.
    """
    given = read_beginning(Path(options.continue_from))
    targets, _ = find_targets(model, given)
    learning = Learning.of(options, model.family)
    adapters: dict[str, Adapter] = {}
    for target in targets:
        adapter = target.adapter
        _refuse_untrained(adapter)
        learns = bool(learning.rate(adapter.key))
        own = [p.detach().to(device=model.device, dtype=torch.float32, copy=True) for p in adapter.parameters()]
        adapters[adapter.key] = adapter.with_parameters([p.requires_grad_(learns) for p in own])
    if not any(p.requires_grad for adapter in adapters.values() for p in adapter.parameters()):
        raise InputError(
            "No layer of the LoRA that is continued is left to train",
            where="continue_from",
            cure="Raise unet_ratio or text_encoder_ratio, or name blocks that it has.",
        )
    return LoraFile(adapters=adapters, metadata={}, extras={}, path=None)


def remarks_on_beginning(model: LoadedModel, options: TrainOptions) -> tuple[str, ...]:
    """Return what a person should know of the LoRA that is continued, and of what of it cannot be.

    Raises:
        FileError, InputError: see `continued`.
    """
    given = read_beginning(Path(options.continue_from))
    targets, unmatched = find_targets(model, given)
    facts = network_facts({target.adapter.key: target.adapter for target in targets})
    said: list[str] = [
        say(
            "goes on from {name}: {n} layers, dim {dim}, alpha {alpha}",
            name=given.name,
            n=len(targets),
            dim=facts["ss_network_dim"],
            alpha=facts["ss_network_alpha"],
        )
    ]
    learning = Learning.of(options, model.family)
    kept = sum(not learning.rate(target.adapter.key) for target in targets)
    if kept:
        said.append(say("layers of it that stay as they are, because the options do not train them: {n}", n=kept))
    if unmatched:
        said.append(misfit(given.name, unmatched, of=len(given.adapters)))
    return (*said, *(say("{name}: {said}", name=given.name, said=note) for note in given.notes))


@dataclass(frozen=True)
class Base:
    """A LoRA that lies under the training, and its strength."""

    lora: LoraFile
    strength: float


def bases(model: LoadedModel, options: TrainOptions) -> tuple[Base, ...]:
    """Return the LoRAs that are merged under the training, on the model's device.

    Raises:
        FileError: a file cannot be read. InputError: one was made for another family of models.
    """
    found = []
    for text in options.base_loras:
        path, strength = split_strength(text)
        lora = read_lora(Path(path)).to(model.device)
        find_targets(model, lora)
        found.append(Base(lora, strength))
    return tuple(found)


def read_beginning(path: Path) -> LoraFile:
    """Return the LoRA that is continued; kept for as long as its file does not change.

    Raises:
        FileError: it cannot be read.
    """
    try:
        facts = path.stat()
    except OSError:
        return read_lora(path)  # raises, and says why
    return _read(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=1)
def _read(path: Path, size: int, changed: int) -> LoraFile:
    return read_lora(path)


def _refuse_untrained(adapter: Adapter) -> None:
    inner = adapter.inner if isinstance(adapter, DoraAdapter) else adapter
    if not isinstance(inner, _TRAINED):
        raise InputError(
            say("A {kind} cannot be trained here", kind=inner.title),
            where=adapter.key,
            cure="Continue a LoRA, LoCon, LoHa, LoKr or DoRA.",
        )

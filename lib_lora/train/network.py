"""The LoRA that is trained: which layers get an adapter, and in which group its parameters stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import LoadedModel
from lib_lora.train.options import TrainOptions
from lib_lora.train.ratio_optimizer import Group


def target_keys(model: LoadedModel, *, conv: bool) -> list[str]:
    """Return the keys that a standard file trains, in a fixed order; each live layer once, in the file's spelling.

    Attention blocks (Linear and 1×1 convolutions) and the text encoders' attention and MLP; with ``conv`` also the
    ResNet blocks and the down- and upsamplers.
    """
    family = architecture_of(model.family)
    wanted = ((key, layer) for key, layer in model.layers.items() if family.is_trained(key, conv=conv))
    # SDXL lists the diffusers spelling first, the LDM spelling of the file last
    return list({id(layer): key for key, layer in wanted}.values())


@dataclass(frozen=True)
class Place:
    """One layer that gets an adapter.

    Attributes:
        key: its name in the file.
        layer: the live layer.
        wanted, rank: the rank that the options say, and the most of it that the layer's matrix can have.
        alpha: what gives the layer the strength that the options say: it shrinks with the rank.
    """

    key: str
    layer: nn.Module
    wanted: int
    rank: int
    alpha: float


def places(model: LoadedModel, options: TrainOptions) -> list[Place]:
    """Return the layers that a run trains, in a fixed order."""
    found = []
    for key in target_keys(model, conv=options.network == "locon"):
        if not (options.text_encoder_ratio if key.startswith("lora_te") else options.unet_ratio):
            continue
        layer = model.layers[key]
        large = isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
        wanted, alpha = (options.conv_dim, options.conv_alpha) if large else (options.dim, options.alpha)
        weight = layer.weight
        rank = min(wanted, weight.shape[0], weight[0].numel())
        # The strength is alpha / rank, and that a layer is small is no reason to train it harder.
        found.append(Place(key, layer, wanted, rank, (alpha or wanted) * rank / wanted))
    return found


def new_lora(model: LoadedModel, options: TrainOptions) -> LoraFile:
    """Return a fresh LoRA on ``model``: up is zero, so at first it changes nothing.

    Raises:
        InputError: no layer is left to train.
    """
    generator = torch.Generator().manual_seed(options.seed)
    # A host may keep a part of its model in main memory until it runs: the LoRA goes where the work is done.
    adapters: dict[str, Adapter] = {
        one.key: LoraAdapter.new(
            one.key, one.layer, rank=one.rank, alpha=one.alpha, generator=generator, device=model.device
        )
        for one in places(model, options)
    }
    if not adapters:
        raise InputError("No layer of the model is left to train", where="unet_ratio, text_encoder_ratio")
    return LoraFile(adapters=adapters, metadata={}, extras={}, path=None)


def groups(lora: LoraFile, options: TrainOptions) -> list[Group]:
    """Return the text encoder's and the UNet's parameters with their ratios."""
    text: list[Tensor] = []
    unet: list[Tensor] = []
    for key, adapter in lora.adapters.items():
        (text if key.startswith("lora_te") else unet).extend(adapter.parameters())
    return [Group(text, options.text_encoder_ratio), Group(unet, options.unet_ratio)]


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

"""Which layers of a model get an adapter, of which rank and alpha."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.host.base import LoadedModel
from lib_lora.train.options import TrainOptions


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
    for key in target_keys(model, conv=options.trains_conv):
        if not (options.text_encoder_ratio if key.startswith("lora_te") else options.unet_ratio):
            continue
        layer = model.layers[key]
        large = isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
        wanted, alpha = (options.conv_dim, options.conv_alpha) if large else (options.dim, options.alpha)
        weight = layer.weight
        # A LoKr's rank is one of its larger factor: where that is too small for it, it is trained whole.
        rank = wanted if options.network == "lokr" else min(wanted, weight.shape[0], weight[0].numel())
        # The strength is alpha / rank, and that a layer is small is no reason to train it harder.
        found.append(Place(key, layer, wanted, rank, (alpha or wanted) * rank / wanted))
    return found

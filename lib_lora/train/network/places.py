"""Which layers of a model get an adapter, of which rank and alpha."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from torch import nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.formats.keys import block_of_key
from lib_lora.host.base import LoadedModel
from lib_lora.train.block_numbers import BlockNumbers, chosen_blocks, rates_of, sizes_of
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
    """Return the layers that a run trains, in a fixed order.

    Raises:
        InputError: numbers or names of blocks that do not fit the model's family.
    """
    sizes = _Sizes.of(options, model.family)
    learning = Learning.of(options, model.family)
    found = []
    for key in target_keys(model, conv=options.trains_conv):
        if not learning.rate(key):
            continue
        layer = model.layers[key]
        wanted, strength = sizes.at(key, large=isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1))
        if not wanted:
            continue
        weight = layer.weight
        # A LoKr's rank is one of its larger factor: where that is too small for it, it is trained whole.
        rank = wanted if options.network == "lokr" else min(wanted, weight.shape[0], weight[0].numel())
        # The strength is alpha / rank, and that a layer is small is no reason to train it harder.
        found.append(Place(key, layer, wanted, rank, strength * rank))
    return found


@dataclass(frozen=True)
class Learning:
    """How fast each layer learns: the ratio of its part times the factor of its block; 0 is not at all."""

    text: float
    unet: float
    rates: BlockNumbers
    blocks: frozenset[str] | None
    family: str

    @classmethod
    def of(cls, options: TrainOptions, family: str) -> Learning:
        """Return what the options say for a family of models."""
        rates, blocks = rates_of(options, family), chosen_blocks(options, family)
        return cls(options.text_encoder_ratio, options.unet_ratio, rates, blocks, family)

    def rate(self, key: str) -> float:
        """Return the factor on the learning rate of one module."""
        if self.blocks is not None and block_of_key(key, self.family) not in self.blocks:
            return 0.0
        return (self.text if is_text(key) else self.unet) * self.rates.of(key, self.family)


def is_text(key: str) -> bool:
    """Whether a module is one of a text encoder."""
    return key.startswith("lora_te")


@dataclass(frozen=True)
class _Sizes:
    """Rank and alpha of each layer, those of large convolutions apart."""

    plain: tuple[BlockNumbers, BlockNumbers]
    conv: tuple[BlockNumbers, BlockNumbers]
    family: str
    by_root: bool

    @classmethod
    def of(cls, options: TrainOptions, family: str) -> _Sizes:
        def both(prefix: str, dim: int, alpha: float) -> tuple[BlockNumbers, BlockNumbers]:
            names = (f"{prefix}block_dims", f"{prefix}block_alphas")
            dims, alphas = (
                sizes_of(getattr(options, name), name, default, family)
                for name, default in zip(names, (dim, alpha), strict=True)
            )
            return dims, alphas

        plain = both("", options.dim, options.alpha)
        conv = both("conv_", options.conv_dim, options.conv_alpha) if options.trains_conv else plain
        return cls(plain, conv, family, options.rslora)

    def at(self, key: str, *, large: bool) -> tuple[int, float]:
        """Return the rank that is wanted for a layer, and its strength."""
        dims, alphas = self.conv if large else self.plain
        dim, alpha = int(dims.of(key, self.family)), alphas.of(key, self.family)
        if not dim:
            return 0, 0.0
        if self.by_root:  # rsLoRA (arXiv:2312.03732): alpha / √rank; the file's alpha says it as alpha / rank
            return dim, (alpha or sqrt(dim)) / sqrt(dim)
        return dim, (alpha or dim) / dim

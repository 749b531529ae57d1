"""The layers that adapters change: which shape their weight has, and running one with another weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib_lora.errors import InputError
from lib_lora.sentences import say


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is a Linear; Forge's own Linear is no subclass of torch's, so what it has decides."""
    return isinstance(layer, nn.Linear) or (hasattr(layer, "in_features") and hasattr(layer, "out_features"))


def is_norm(layer: nn.Module) -> bool:
    """Whether a layer is a normalization with numbers of its own."""
    return isinstance(layer, nn.GroupNorm | nn.LayerNorm) and layer.weight is not None


def layer_shape(layer: nn.Module) -> tuple[int, ...] | None:
    """Return the shape of a layer's weight as its sizes tell it, None for a layer that no adapter changes."""
    if isinstance(layer, nn.Conv2d) and layer.groups == 1:
        return (layer.out_channels, layer.in_channels, *layer.kernel_size)
    if is_linear(layer):
        return (layer.out_features, layer.in_features)
    if isinstance(layer, nn.GroupNorm) and layer.affine:
        return (layer.num_channels,)
    if isinstance(layer, nn.LayerNorm) and layer.elementwise_affine and len(layer.normalized_shape) == 1:
        return tuple(layer.normalized_shape)
    return None


def trained_shape(key: str, layer: nn.Module) -> tuple[int, ...]:
    """Return the shape of the weight of a Linear or a convolution, which kinds of low rank can be trained on.

    Raises:
        InputError: it is another layer.
    """
    shape = layer_shape(layer)
    if shape is None or len(shape) == 1:
        raise InputError(
            "A {layer} cannot take a LoRA", layer=type(layer).__name__, where=key, cure="Leave the layer out."
        )
    return shape


def weight_of(layer: nn.Module) -> Tensor:
    """Return a layer's weight as numbers that can be computed with.

    Raises:
        InputError: the host keeps it in another form (4-bit numbers and the like).
    """
    weight, shape = layer.weight.detach(), layer_shape(layer)
    if shape is not None and (tuple(weight.shape) != shape or not weight.is_floating_point()):
        cure = say("Load the model in fp16 or fp8.")
        raise InputError("The model's weights are quantized, so this LoRA's change is not known", cure=cure)
    return weight


def run_layer(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what the layer would give with another weight and bias, in the type and on the device of ``x``."""
    weight, bias = weight.to(x), None if bias is None else bias.to(x)
    if isinstance(layer, nn.Conv2d):
        return layer._conv_forward(x, weight, bias)  # keeps padding modes, as WebUI's tiling sets them
    if isinstance(layer, nn.GroupNorm):
        return nn.functional.group_norm(x, layer.num_groups, weight, bias, layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return nn.functional.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
    return nn.functional.linear(x, weight, bias)


def along_outputs(layer: nn.Module, values: Tensor, x: Tensor) -> Tensor:
    """Return one number per output channel ``(out,)`` in a form that is added to what the layer gives for ``x``."""
    channels_first = isinstance(layer, nn.Conv2d | nn.GroupNorm)
    return values.to(x).reshape(-1, *[1] * (x.dim() - 2)) if channels_first else values.to(x)


def zeros_for(weight: Tensor | None) -> Tensor:
    """Return no change of a weight; without one, no numbers."""
    return torch.zeros(0) if weight is None else torch.zeros_like(weight, dtype=torch.float32)

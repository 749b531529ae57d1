"""What every adapter can do, and the checks that all of them share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from lib_lora.errors import FileError, InputError

_A = TypeVar("_A", bound="Adapter")

SCALES = ("weight_scale", "scale_weight", "weight_scale_inv", "weight_scale_2", "input_scale", "scale_input")
"""Ends of the names of what fp8 numbers are multiplied by."""


@dataclass(frozen=True, eq=False)
class Factors:
    """A change as two fp32 matrices with the scale folded in: ``(up @ down).reshape(shape)`` is the delta.

    ``up`` is (out, r), ``down`` is (r, in·kh·kw), ``shape`` is (out, in) or (out, in, kh, kw).
    """

    up: Tensor
    down: Tensor
    shape: tuple[int, ...]


class Adapter(ABC):
    """The change of one layer, of one kind; subclasses are frozen dataclasses of their tensors and ``alpha``."""

    kind: ClassVar[str]
    key: str
    alpha: float

    @classmethod
    @abstractmethod
    def matches(cls, parts: Collection[str]) -> bool:
        """Whether these part names under one key are, completely or not, of this kind."""

    @classmethod
    @abstractmethod
    def read(cls: type[_A], key: str, parts: Mapping[str, Tensor]) -> _A:
        """Build the adapter of one key.

        Raises:
            FileError: a part is missing, superfluous, of another shape or type, or alpha is not finite.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name; ``read(key, tensors())`` gives the same adapter. Alpha is fp32."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """The rank that alpha is divided by."""

    @abstractmethod
    def delta(self) -> Tensor:
        """Return the change of the weight in fp32, (out, in) or (out, in, kh, kw); differentiable."""

    @abstractmethod
    def factors(self) -> Factors:
        """Return the same change as a product of two matrices, exact but for fp32 rounding."""

    @abstractmethod
    def parameters(self) -> list[Tensor]:
        """Return what training updates; ``scaled`` touches the first only."""

    @abstractmethod
    def with_parameters(self: _A, tensors: list[Tensor]) -> _A:
        """Return the same adapter with other tensors in the order of ``parameters``."""

    def scale(self) -> float:
        """Return alpha divided by rank."""
        return self.alpha / self.rank

    def apply(self, x: Tensor, layer: nn.Module) -> Tensor:
        """Return what to add to ``layer(x)`` at strength 1, in the type and on the device of ``x``.

        The layer's stride, padding and dilation are used; an adapter stored 2-D fits a convolution of as many numbers
        and the other way round.
        """
        weight = self.delta().reshape(self.fitting_shape(layer)).to(x)
        if isinstance(layer, nn.Conv2d):
            return layer._conv_forward(x, weight, None)  # keeps padding modes, as WebUI's tiling sets them
        return nn.functional.linear(x, weight)

    def fitting_shape(self, layer: nn.Module) -> tuple[int, ...]:
        """Return the shape of the layer's weight if this adapter's delta has that many rows and numbers.

        Raises:
            InputError: it was made for another layer.
        """
        if isinstance(layer, nn.Conv2d) and layer.groups == 1:
            shape = (layer.out_channels, layer.in_channels, *layer.kernel_size)
        elif is_linear(layer):
            shape = (layer.out_features, layer.in_features)
        else:
            raise InputError(
                f"A {type(layer).__name__} cannot take this LoRA",
                where=self.key,
                cure="Choose a LoRA that was made for this kind of model.",
            )
        own = self.shape
        kernels_differ = len(own) == 4 and len(shape) == 4 and own[2:] != shape[2:]
        if own[0] != shape[0] or prod(own) != prod(shape) or kernels_differ:
            what = f"The LoRA changes a weight of shape {own}, the model's layer has {shape}"
            raise InputError(what, where=self.key, cure="Choose a LoRA that was made for this kind of model.")
        return shape

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``, without computing it."""

    def scaled(self: _A, q: float) -> _A:
        """Return an adapter whose delta is ``q`` times this one's; only alpha is rounded (fp32), signs go on a tensor.

        Raises:
            InputError: ``q`` is not finite, or the result is not.
        """
        if not math.isfinite(q):
            raise InputError(f"A strength must be a finite number, not {q}", where=self.key, cure="Change it.")
        alpha = as_fp32(self.alpha * abs(q))
        if not math.isfinite(alpha):
            raise InputError(f"A strength of {q} is too large", where=self.key, cure="Choose a smaller number.")
        first, *rest = self.parameters()
        if alpha == 0.0:  # a stored alpha of 0 would be read as "rank"
            return self.with_parameters([torch.zeros_like(first), *rest])
        return replace(self.with_parameters([-first, *rest]) if q < 0 else self, alpha=alpha)

    def to(self: _A, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> _A:
        """Return the adapter on another device or in another type; alpha stays."""
        return self.with_parameters([t.to(device=device, dtype=dtype) for t in self.parameters()])


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is a Linear; Forge's own Linear is no subclass of torch's, so what it has decides."""
    return isinstance(layer, nn.Linear) or (hasattr(layer, "in_features") and hasattr(layer, "out_features"))


def as_fp32(value: float) -> float:
    """Return ``value`` rounded to what fp32 can hold; infinity beyond."""
    return float(torch.tensor(value, dtype=torch.float64).to(torch.float32))


def take_parts(
    key: str, parts: Mapping[str, Tensor], *, required: Collection[str], optional: Collection[str] = ()
) -> dict[str, Tensor]:
    """Return the tensors of one key after checking that none is missing, unknown, empty or not of real numbers.

    Raises:
        FileError: any of this is not so; the key is named.
    """
    missing = sorted(set(required) - set(parts))
    unknown = sorted(set(parts) - set(required) - set(optional) - {"alpha"})
    if missing:
        raise FileError(f"{missing[0]} is missing", where=key, cure="The file is incomplete; get it again.")
    if any(name.endswith(SCALES) for name in unknown):
        raise scaled_fp8(key)
    if unknown:
        raise FileError(
            f"The part {unknown[0]} is not understood", where=key, cure="Use a LoRA, LoCon, LoHa or LoKr file."
        )
    tensors = {name: tensor for name, tensor in parts.items() if name != "alpha"}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            raise FileError(f"{name} holds no real numbers", where=key, cure="The file is broken; get it again.")
    return tensors


def scaled_fp8(where: str) -> FileError:
    """Return the error of fp8 numbers whose scales stand beside them: without these they mean something else."""
    return FileError("Scaled fp8 is not read", where=where, cure="Use an fp16 file of this LoRA.")


def shape_error(key: str, tensors: Mapping[str, Tensor]) -> FileError:
    """Return the error that names the shapes which do not fit one another."""
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(tensors.items()))
    return FileError(f"Ranks or shapes do not fit: {shapes}", where=key, cure="The file is broken; get it again.")


def read_alpha(key: str, parts: Mapping[str, Tensor], *, rank: int) -> float:
    """Return alpha: a 0-D or 1-element tensor; missing or 0 means rank."""
    tensor = parts.get("alpha")
    if tensor is None:
        return float(rank)
    if tensor.numel() != 1:
        raise FileError(
            f"The alpha holds {tensor.numel()} numbers", where=key, cure="The file is broken; get it again."
        )
    alpha = float(tensor)
    if not math.isfinite(alpha) or not math.isfinite(as_fp32(alpha)):
        raise FileError(f"The alpha is {alpha}", where=key, cure="The file is broken; get it again.")
    if as_fp32(alpha) == 0.0:
        return float(rank)  # as LyCORIS takes it; `LoraFile.notes` says so
    return as_fp32(alpha)


def alpha_tensor(alpha: float) -> Tensor:
    """Return alpha as it is stored: 0-D, fp32."""
    return torch.tensor(alpha, dtype=torch.float32)

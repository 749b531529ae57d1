"""What every kind of adapter can do: the contract that reading, attaching, merging and describing rely on."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters.layer import layer_shape, run_layer, trained_shape, weight_of
from lib_lora.formats.adapters.parts import as_fp32
from lib_lora.formats.adapters.start import Drawing
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.formats.peft import PeftOptions

_A = TypeVar("_A", bound="Adapter")


@dataclass(frozen=True, eq=False)
class Factors:
    """A change as two fp32 matrices with the scale folded in: ``(up @ down).reshape(shape)`` is the delta.

    ``up`` is (out, r), ``down`` is (r, in·kh·kw), ``shape`` is (out, in) or (out, in, kh, kw).
    """

    up: Tensor
    down: Tensor
    shape: tuple[int, ...]


class Adapter(ABC):
    """The change of one layer, of one kind; subclasses are frozen dataclasses of ``key``, ``alpha`` and their tensors.

    Attributes:
        kind: the kind's name as LyCORIS and PEFT write it.
        title: the kind's name as people write it.
        signs: a regular expression of the part names that give the kind away.
        names: one of all its part names, as a dotted tensor name may end with them.
        is_linear: whether an adapter of the same kind can hold q times the change, so that it can be baked.
        needs_weight: whether the change depends on the weight that it is added to.
        has_factors: whether the change is a product of matrices by itself.
        is_thin: whether that product's rank is the one that the file states.
        takes_norms: whether it fits layers whose weight is one number a channel.
        in_comfyui: whether ComfyUI reads its parts, below names of its own form.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    signs: ClassVar[str]
    names: ClassVar[str]
    is_linear: ClassVar[bool] = True
    needs_weight: ClassVar[bool] = False
    has_factors: ClassVar[bool] = False
    is_thin: ClassVar[bool] = False
    takes_norms: ClassVar[bool] = False
    in_comfyui: ClassVar[bool] = False
    key: str
    alpha: float

    @classmethod
    def matches(cls, parts: Mapping[str, Tensor]) -> bool:
        """Whether the parts under one key are, completely or not, of this kind."""
        return cls.may_be(parts)

    @classmethod
    def may_be(cls, names: Collection[str]) -> bool:
        """Whether parts of these names can be of this kind; `matches` may also look at their shapes."""
        return any(re.fullmatch(cls.signs, name) for name in names)

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rank that alpha is divided by, from shapes alone; None where the kind or the parts have none."""
        return None

    @classmethod
    def from_peft(cls, parts: dict[str, Tensor], options: PeftOptions, path: str) -> None:
        """Put what PEFT's options say of the module at ``path`` into its parts; alpha is there already."""
        return

    @classmethod
    @abstractmethod
    def read(cls: type[_A], key: str, parts: Mapping[str, Tensor]) -> _A:
        """Build the adapter of one key.

        Raises:
            FileError: a part is missing, superfluous, of another shape or type, or alpha is not finite.
        """

    @classmethod
    def new(
        cls: type[_A],
        key: str,
        layer: nn.Module,
        *,
        rank: int,
        alpha: float,
        generator: torch.Generator | None = None,
        device: torch.device | None = None,
        **more: Any,
    ) -> _A:
        """Return a fresh adapter that changes nothing yet and whose parameters can be trained.

        Args:
            key: its name in a file.
            layer: the live layer.
            rank, alpha: what gives it its size and its strength.
            generator: draws the numbers that it begins with.
            device: where the layer will run; None: where it is now.
            more: what a kind of its own can be told.

        Raises:
            InputError: this kind is not trained here, or the layer cannot take it.
        """
        shape = trained_shape(key, layer)
        if rank < 1 or as_fp32(alpha) == 0.0:
            raise InputError("Rank must be at least 1 and alpha not 0", where=key, cure="Change the options.")
        return cls.begun(key, shape, Drawing(layer, generator, device), rank=rank, alpha=as_fp32(alpha), **more)

    @classmethod
    def begun(cls: type[_A], key: str, shape: tuple[int, ...], draw: Drawing, *, rank: int, alpha: float) -> _A:
        """Return what `new` does, of numbers that ``draw`` gives, for a layer whose weight has this shape."""
        what = say("A {kind} cannot be trained here", kind=cls.title)
        raise InputError(what, where=key, cure="Choose the network lora, locon, loha or lokr.")

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name; ``read(key, tensors())`` gives the same adapter. Alpha is fp32."""

    @property
    def rank(self) -> int:
        """The rank that alpha is divided by; 1 where the kind has none."""
        return self.stated_rank or 1

    @property
    def stated_rank(self) -> int | None:
        """The rank that the file states, None where the kind has none."""
        return type(self).rank_in(self.tensors())

    @property
    def label(self) -> str:
        """What people call this very adapter; mostly the kind's title."""
        return self.title

    def network_args(self) -> dict[str, str]:
        """Return how a trainer's ``network_args`` name the kind; nothing for a plain LoRA."""
        return {"algo": self.kind}

    def assumed(self) -> str:
        """Return what the file does not say and is assumed, in a sentence; mostly nothing."""
        return ""

    @abstractmethod
    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight at strength 1, in fp32 and of as many numbers; differentiable.

        Args:
            weight: the untouched base weight, on any device and in any type; only kinds with ``needs_weight`` read it.

        Raises:
            InputError: the weight is needed and not given.
        """

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        """Return the change of the layer's bias at strength 1 in fp32 ``(out,)``; None where there is none.

        Args:
            bias: the untouched bias, None where the layer has none.
        """
        return None

    @property
    def weight_part(self) -> Adapter | None:
        """What of this adapter changes the weight; None where only a bias is changed."""
        return self

    def with_weight_part(self, part: Adapter | None) -> Adapter | None:
        """Return the adapter with another change of the weight, and of the bias what it was; None for nothing."""
        return part

    def as_peft(self, *, folded: bool) -> Adapter | None:
        """Return the same change as PEFT's LoRA holds it: up and down, lengths of outputs, a bias; None: it cannot.

        Args:
            folded: multiply alpha/rank into the numbers, so that the scale is 1.
        """
        return None

    def parted(self, rows: Sequence[Tensor]) -> list[Adapter | None]:
        """Return the changes of several layers that have these rows of the weight each, as kinds that hold them.

        None for what this kind has no form of; `rows.parted` knows what to do then.
        """
        return [None] * len(rows)

    @classmethod
    def joined(cls, parts: Sequence[Adapter | int]) -> Adapter | None:
        """Return the change of the layer that has the rows of several; None where this kind has no form of it.

        Args:
            parts: of this kind or not; a number stands for so many rows that are not changed.
        """
        return None

    def factors_of(self, rows: Tensor) -> Factors:
        """Return the factors of some rows of the change."""
        whole = self.factors()
        return Factors(whole.up[rows], whole.down, (len(rows), *whole.shape[1:]))

    def factors(self) -> Factors:
        """Return the change as a product of two matrices, exact but for fp32 rounding; of no kind with `needs_weight`.

        Without a low rank of its own, the identity stands on the longer side.
        """
        whole = self.delta()
        return Factors(*whole_pair(whole), tuple(whole.shape))

    def parameters(self) -> list[Tensor]:
        """Return all tensors that hold the change, in a fixed order; ``scaled`` touches the first only, or all."""
        return list(self._tensors().values())

    def with_parameters(self: _A, tensors: list[Tensor]) -> _A:
        """Return the same adapter with other tensors in the order of ``parameters``."""
        own = dict(zip(self._tensors(), tensors, strict=True))
        return replace(self, **own)  # type: ignore[type-var]  # every kind is a dataclass

    def _tensors(self) -> dict[str, Tensor]:
        """Return the fields that are tensors: the change of a kind without further ones is all in them."""
        own = fields(self)  # type: ignore[arg-type]  # every kind is a dataclass
        values = {one.name: getattr(self, one.name) for one in own}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def scale(self) -> float:
        """Return alpha divided by rank."""
        return self.alpha / self.rank

    def cheap_work(self, layer: nn.Module) -> float:
        """Return the work of ``apply`` as a share of the layer's own; infinite where the whole change is built."""
        return math.inf

    def apply(self, x: Tensor, layer: nn.Module, *, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return what to add to ``layer(x)`` at strength 1, in the type and on the device of ``x``.

        The layer's stride, padding and dilation are used; an adapter stored 2-D fits a convolution of as many numbers
        and the other way round.

        Args:
            x: the layer's input.
            layer: the live layer.
            weight, bias: the untouched ones; None for those that the layer has now.
        """
        shape = self.fitting_shape(layer)
        if self.needs_weight and weight is None:
            weight = weight_of(layer)
        bias = getattr(layer, "bias", None) if bias is None else bias
        change = self.bias_delta(None if bias is None else bias.detach())
        return run_layer(layer, x, self.delta(weight).reshape(shape), change)

    def fitting_shape(self, layer: nn.Module) -> tuple[int, ...]:
        """Return the shape of the layer's weight if this adapter can change it.

        Raises:
            InputError: it was made for another layer.
        """
        shape = layer_shape(layer)
        if shape is None or (len(shape) == 1 and not self.takes_norms):
            raise InputError(
                "A {layer} cannot take this LoRA",
                layer=type(layer).__name__,
                where=self.key,
                cure="Choose a LoRA that was made for this kind of model.",
            )
        if not self.fits(shape):
            raise self.misfit(shape)
        return shape

    def misfit(self, shape: tuple[int, ...]) -> InputError:
        """Return the error of a layer whose weight has another shape."""
        what = say(
            "The LoRA changes a weight of shape {own}, the model's layer has {shape}", own=self.shape, shape=shape
        )
        return InputError(what, where=self.key, cure="Choose a LoRA that was made for this kind of model.")

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a weight of this shape can be changed: as many rows, numbers and the same kernel."""
        own = self.shape
        kernels_differ = len(own) == 4 and len(shape) == 4 and own[2:] != shape[2:]
        return own[0] == shape[0] and prod(own) == prod(shape) and not kernels_differ

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()`` without computing it; of kinds with ``needs_weight`` as far as the file tells it."""

    def scaled(self: _A, q: float) -> _A:
        """Return an adapter whose delta is ``q`` times this one's; only alpha is rounded (fp32), signs go on a tensor.

        Raises:
            InputError: ``q`` is not finite, or the result is not, or the kind is not linear and ``q`` not 1.
        """
        if not self.is_linear:
            return self._only_whole(q)
        alpha = as_fp32(self.alpha * abs(self._checked(q)))
        if not math.isfinite(alpha):
            raise InputError(
                "A strength of {value} is too large", value=q, where=self.key, cure="Choose a smaller number."
            )
        first, *rest = self.parameters()
        if alpha == 0.0:  # a stored alpha of 0 would be read as "rank"
            return self.with_parameters([torch.zeros_like(first), *rest])
        return replace(self.with_parameters([-first, *rest]) if q < 0 else self, alpha=alpha)  # type: ignore[type-var]  # all kinds are dataclasses

    def _checked(self, q: float) -> float:
        if not math.isfinite(q):
            raise InputError(
                "A strength must be a finite number, not {value}", value=q, where=self.key, cure="Change it."
            )
        return q

    def _only_whole(self: _A, q: float) -> _A:
        """Return the adapter itself for strength 1; nothing else has a form of its own kind."""
        if self._checked(q) == 1:
            return self
        what = say(
            "A {kind} at strength {q:g} has no form as a {kind_again}", kind=self.title, q=q, kind_again=self.title
        )
        cure = say("Bake it with 0 or 1 in every block, or with its model loaded: then it becomes a full difference.")
        raise InputError(what, where=self.key, cure=cure)

    def _times(self, tensor: Tensor, q: float) -> Tensor:
        """Return ``q`` times a tensor in its type, in fp32 where that cannot hold it."""
        product = (tensor.double() * self._checked(q)).to(tensor.dtype)
        product = product if torch.isfinite(product).all() else (tensor.double() * q).float()
        if not torch.isfinite(product).all():
            raise InputError(
                "A strength of {value} is too large", value=q, where=self.key, cure="Choose a smaller number."
            )
        return product

    def base(self, weight: Tensor | None) -> Tensor:
        """Return the base weight in fp32 on the device of this adapter's tensors.

        Raises:
            InputError: it is not given.
        """
        if weight is None:
            what = say("The change of a {kind} depends on the model's weights", kind=self.title)
            raise InputError(what, where=self.key, cure="Load the model that the LoRA was made for.")
        return weight.detach().to(self.parameters()[0].device).float()

    def to(self: _A, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> _A:
        """Return the adapter on another device or in another type; alpha stays."""
        return self.with_parameters([t.to(device=device, dtype=dtype) for t in self.parameters()])


def low_rank_work(rank: int, layer: nn.Module) -> float:
    """Return the work of two thin matrices as a share of a layer's own: ``r (in + out) / (in · out)``."""
    rows, columns = layer.weight.shape[0], layer.weight[0].numel()
    return rank * (rows + columns) / (rows * columns)


def whole_pair(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a whole matrix as a product with the identity on its longer side, in fp32: rank min(rows, columns)."""
    matrix = weight.float().flatten(1)
    rows, columns = matrix.shape
    if rows < columns:
        return torch.eye(rows, device=matrix.device), matrix
    return matrix, torch.eye(columns, device=matrix.device)

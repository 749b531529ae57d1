"""A change of a normalization: what is added to its numbers and to its bias (LyCORIS' ``train_norm``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.layer import zeros_for
from lib_lora.formats.adapters.parts import shape_error, take_parts

_WEIGHT, _BIAS = "w_norm", "b_norm"


@dataclass(frozen=True, eq=False)
class NormAdapter(Adapter):
    """``w_norm`` and ``b_norm`` (channels,), one of which may be missing; alpha does not count."""

    kind: ClassVar[str] = "norm"
    title: ClassVar[str] = "norm"
    signs: ClassVar[str] = "[wb]_norm"
    names: ClassVar[str] = signs
    takes_norms: ClassVar[bool] = True
    in_comfyui: ClassVar[bool] = True
    key: str
    w_norm: Tensor | None
    b_norm: Tensor | None
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> NormAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=(), optional=(_WEIGHT, _BIAS))
        if any(tensor.ndim != 1 for tensor in tensors.values()) or len({len(t) for t in tensors.values()}) != 1:
            raise shape_error(key, tensors)
        return cls(key, tensors.get(_WEIGHT), tensors.get(_BIAS))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        return tuple(self.parameters()[0].shape)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it is a normalization of as many channels."""
        return shape == self.shape

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the numbers."""
        if self.w_norm is None:
            return zeros_for(self.b_norm if weight is None else weight)
        return self.w_norm.float()

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        """Return the change of the bias."""
        return None if self.b_norm is None else self.b_norm.float()

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        parts = {_WEIGHT: self.w_norm, _BIAS: self.b_norm}
        return {name: tensor for name, tensor in parts.items() if tensor is not None}

    def scaled(self, q: float) -> NormAdapter:
        """Return ``q`` times both changes, rounded to their type."""
        return self if q == 1 else self.with_parameters([self._times(tensor, q) for tensor in self.parameters()])

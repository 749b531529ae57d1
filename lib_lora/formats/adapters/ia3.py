"""(IA)³: rows or columns of the weight are multiplied by learned numbers (Liu et al. 2022, arXiv:2205.05638).

LyCORIS stores the numbers less 1 (``weight``, with ``on_input`` 0 or 1), PEFT the numbers themselves (``ia3_l``): one
row for inputs, one column for outputs, where it multiplies the bias too. Of a convolution both are (1, n, 1, 1), so its
options tell the side (``feedforward_modules``), or the layer, where it has not as many inputs as outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import shape_error, take_parts
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.formats.peft import PeftOptions

_WEIGHT, _SIDE, _PEFT, _PEFT_SIDE = "weight", "on_input", "ia3_l", "ia3_l_on_input"


@dataclass(frozen=True, eq=False)
class Ia3Adapter(Adapter):
    """``weight`` less 1, of n numbers, in fp32 where PEFT wrote it; ``side`` is their axis in the layer's weight.

    ``side`` is None where the layer must tell it. ``with_bias``: the bias is multiplied as the outputs are.
    """

    kind: ClassVar[str] = "ia3"
    title: ClassVar[str] = "IA3"
    signs: ClassVar[str] = rf"{_SIDE}|{_PEFT}|{_PEFT_SIDE}"
    names: ClassVar[str] = signs
    needs_weight: ClassVar[bool] = True
    key: str
    weight: Tensor
    on_input: Tensor
    side: int | None
    with_bias: bool
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> Ia3Adapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        if _PEFT in parts:
            tensors = take_parts(key, parts, required=(_PEFT,), optional=(_PEFT_SIDE,))
            numbers, told = tensors[_PEFT], tensors.get(_PEFT_SIDE)
            if numbers.ndim not in (2, 4) or numbers.numel() != max(numbers.shape[:2]):
                raise shape_error(key, tensors)
            side = int(numbers.shape[1] != 1) if numbers.ndim == 2 else None
            if told is not None and not told.is_meta:
                side = int(bool(told.flatten()[0]))
            return cls(key, numbers.float() - 1, numbers.new_full((), side or 0), side, with_bias=side != 1)
        if _SIDE not in parts:
            raise shape_error(key, dict(parts))
        flag = parts[_SIDE]
        rest = {name: tensor for name, tensor in parts.items() if name != _SIDE}
        weight = take_parts(key, rest, required=(_WEIGHT,))[_WEIGHT]
        if weight.numel() != max(weight.shape or (1,)) or flag.numel() != 1:
            raise shape_error(key, {_WEIGHT: weight, _SIDE: flag})
        side = 0 if flag.is_meta else int(bool(flag.flatten()[0]))
        return cls(key, weight, flag, side, with_bias=False)

    @classmethod
    def from_peft(cls, parts: dict[str, Tensor], options: PeftOptions, path: str) -> None:
        """Put the side of a convolution's numbers into the parts."""
        of_inputs = options.names(path, "feedforward_modules")
        if of_inputs is not None and parts.get(_PEFT, torch.empty(0)).ndim == 4:
            parts[_PEFT_SIDE] = torch.tensor(float(of_inputs))

    @property
    def shape(self) -> tuple[int, ...]:
        """How many numbers there are, of outputs or inputs."""
        return (self.weight.numel(),)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the layer has as many outputs, or inputs."""
        return len(shape) > 1 and bool(self._sides(shape))

    def _sides(self, shape: tuple[int, ...]) -> list[int]:
        """Return the axes of a weight that the numbers may be for."""
        own = (0, 1) if self.side is None else (self.side,)
        return [side for side in own if shape[side] == self.weight.numel()]

    def fitting_shape(self, layer: nn.Module) -> tuple[int, ...]:
        """Return the shape of the layer's weight; see ``Adapter.fitting_shape``."""
        shape = super().fitting_shape(layer)
        self._side_of(shape)
        return shape

    def _side_of(self, shape: tuple[int, ...]) -> int:
        """Return the axis of a weight of this shape that is multiplied.

        Raises:
            InputError: neither the file nor the shape tells it.
        """
        sides = self._sides(shape)
        if len(sides) != 1:
            cure = say("Put the adapter_config.json that it was saved with beside it.")
            raise InputError("The IA3 does not say whether it multiplies inputs or outputs", where=self.key, cure=cure)
        return sides[0]

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the weight times the numbers less 1."""
        base = self.base(weight)
        axis = self._side_of(tuple(base.shape))
        along = [-1 if side == axis else 1 for side in range(base.ndim)]
        return base * self.weight.float().reshape(along)

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        """Return the bias times the numbers less 1, where PEFT multiplies outputs."""
        if bias is None or not self.with_bias or len(bias) != self.weight.numel():  # then they are of inputs
            return None
        return bias.detach().to(self.weight.device).float() * self.weight.float().flatten()

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name, in the form that they were read in."""
        if self.with_bias:
            numbers = self.weight.float() + 1
            return {_PEFT: numbers if self.side is None else numbers.reshape(-1, 1)}
        return {_WEIGHT: self.weight, _SIDE: self.on_input}

    def scaled(self, q: float) -> Ia3Adapter:
        """Return ``q`` times the change, in fp32: nothing is rounded."""
        return self if q == 1 else replace(self, weight=self._times(self.weight.float(), q))

    def parameters(self) -> list[Tensor]:
        """Return the numbers less 1."""
        return [self.weight]

    def with_parameters(self, tensors: list[Tensor]) -> Ia3Adapter:
        """Return the adapter with other numbers."""
        return replace(self, weight=tensors[0])

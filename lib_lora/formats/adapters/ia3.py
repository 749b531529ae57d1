"""(IA)³: rows or columns of the weight are multiplied by learned numbers (Liu et al. 2022, arXiv:2205.05638).

LyCORIS stores the numbers less 1 (``weight``, with ``on_input`` 0 or 1), PEFT the numbers themselves (``ia3_l``: one
row for inputs, one column for outputs, where it multiplies the bias too).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import shape_error, take_parts

_WEIGHT, _SIDE, _PEFT = "weight", "on_input", "ia3_l"


@dataclass(frozen=True, eq=False)
class Ia3Adapter(Adapter):
    """``weight`` (n[, 1, 1]) less 1, in fp32 where PEFT wrote it; ``side`` is its axis in the layer's weight.

    ``with_bias``: the bias is multiplied as the outputs are.
    """

    kind: ClassVar[str] = "ia3"
    title: ClassVar[str] = "IA3"
    signs: ClassVar[str] = rf"{_SIDE}|{_PEFT}"
    names: ClassVar[str] = rf"{_SIDE}|{_PEFT}"
    needs_weight: ClassVar[bool] = True
    key: str
    weight: Tensor
    on_input: Tensor
    side: int
    with_bias: bool
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> Ia3Adapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        if _PEFT in parts:
            numbers = take_parts(key, parts, required=(_PEFT,))[_PEFT]
            if numbers.ndim != 2 or numbers.numel() != max(numbers.shape):  # of a convolution it does not tell the side
                raise shape_error(key, {_PEFT: numbers})
            side = 0 if numbers.shape[1] == 1 else 1
            return cls(key, numbers.float() - 1, _flag(side, numbers), side, with_bias=side == 0)
        flag = parts[_SIDE]
        rest = {name: tensor for name, tensor in parts.items() if name != _SIDE}
        weight = take_parts(key, rest, required=(_WEIGHT,))[_WEIGHT]
        if weight.numel() != max(weight.shape or (1,)) or flag.numel() != 1:
            raise shape_error(key, {_WEIGHT: weight, _SIDE: flag})
        side = 0 if flag.is_meta else int(bool(flag.flatten()[0]))
        return cls(key, weight, flag, side, with_bias=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many numbers there are, of outputs or inputs."""
        return (self.weight.numel(),)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the layer has as many outputs, or inputs."""
        return len(shape) > 1 and shape[self.side] == self.weight.numel()

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the weight times the numbers less 1."""
        base = self.base(weight)
        along = [-1 if side == self.side else 1 for side in range(base.ndim)]
        return base * self.weight.float().reshape(along)

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        """Return the bias times the numbers less 1, where PEFT multiplies outputs."""
        if bias is None or not self.with_bias:
            return None
        return bias.detach().to(self.weight.device).float() * self.weight.float().flatten()

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name, in the form that they were read in."""
        if self.with_bias:
            return {_PEFT: self.weight.float().reshape(-1, 1) + 1}
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


def _flag(side: int, like: Tensor) -> Tensor:
    return like.new_full((), side)

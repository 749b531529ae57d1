"""A whole weight that takes the place of the model's own (``set_weight``, as ComfyUI and Forge read it).

They put it in whatever the strength; here a strength between 0 and 1 lies between the model's weight and this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import shape_error, take_parts
from lib_lora.sentences import say

_WEIGHT = "set_weight"


@dataclass(frozen=True, eq=False)
class WholeAdapter(Adapter):
    """``weight`` has the shape of the layer's; its change is the difference from the model's own."""

    kind: ClassVar[str] = "set_weight"
    title: ClassVar[str] = say("whole weight")
    signs: ClassVar[str] = _WEIGHT
    names: ClassVar[str] = signs
    is_linear: ClassVar[bool] = False
    needs_weight: ClassVar[bool] = True
    takes_norms: ClassVar[bool] = True
    in_comfyui: ClassVar[bool] = True
    key: str
    weight: Tensor
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> WholeAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        weight = take_parts(key, parts, required=(_WEIGHT,))[_WEIGHT]
        if weight.ndim not in (1, 2, 4):
            raise shape_error(key, {_WEIGHT: weight})
        return cls(key, weight)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        return tuple(self.weight.shape)

    def network_args(self) -> dict[str, str]:
        """Return LyCORIS' nearest name: its full difference."""
        return {"algo": "full"}

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return this weight less the model's own."""
        base = self.base(weight)
        return self.weight.float().reshape(base.shape) - base

    def tensors(self) -> dict[str, Tensor]:
        """Return the part by its name."""
        return {_WEIGHT: self.weight}

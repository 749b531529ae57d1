"""A LoRA with the strongest single numbers of what it missed (``bias_*``, LyCORIS' extraction with ``use_bias``).

``alpha/rank · (up · down + S)``, with S a sparse matrix of the weight's size; an extraction writes alpha = rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.around import Around
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.adapters.parts import checked, shape_error
from lib_lora.sentences import say

_PLACES, _VALUES, _SIZE = "bias_indices", "bias_values", "bias_size"


@dataclass(frozen=True, eq=False)
class SparseAdapter(Around):
    """``places`` (2, n) are rows and columns of ``values`` (n,) in a matrix of ``size`` (2,); ``inner`` is the LoRA."""

    kind: ClassVar[str] = "sparse"
    title: ClassVar[str] = say("sparse bias")
    signs: ClassVar[str] = "bias_(?:indices|values|size)"
    names: ClassVar[str] = signs
    inner: LoraAdapter
    places: Tensor
    values: Tensor
    size: Tensor

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rank of the LoRA."""
        return LoraAdapter.rank_in(parts)

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> SparseAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        own = {name: parts[name] for name in (_PLACES, _VALUES, _SIZE) if name in parts}
        inner = LoraAdapter.read(key, {name: tensor for name, tensor in parts.items() if name not in own})
        if len(own) != 3:
            raise shape_error(key, own)
        places, values, size = own[_PLACES], own[_VALUES], own[_SIZE]
        checked(key, {_VALUES: values} if values.numel() else {})  # nothing may have been missed
        whole = not places.is_floating_point() and not size.is_floating_point() and size.numel() == 2
        if not whole or values.ndim != 1 or tuple(places.shape) != (2, len(values)):
            raise shape_error(key, own)
        adapter = cls(key, inner, places, values, size)
        if not places.is_meta and not adapter._is_within():
            raise shape_error(key, {**inner.tensors(), **own})
        return adapter

    def _is_within(self) -> bool:
        """Whether the matrix is the LoRA's, and every place in it."""
        rows, columns = (int(side) for side in self.size)
        same = (rows, rows * columns) == (self.shape[0], torch.Size(self.shape).numel())
        limits = torch.tensor([[rows], [columns]], device=self.places.device)
        return same and bool(((self.places >= 0) & (self.places < limits)).all())

    def network_args(self) -> dict[str, str]:
        """Return the LoRA's names."""
        return self.inner.network_args()

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight."""
        whole = self.inner.delta()
        rows = whole.flatten(1)
        where = tuple(self.places.to(whole.device).long())
        sparse = torch.zeros_like(rows).index_put(where, self.values.float(), accumulate=True)
        return (rows + self.scale() * sparse).reshape(whole.shape)

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        return {**self.inner.tensors(), _PLACES: self.places, _VALUES: self.values, _SIZE: self.size}

    def scaled(self, q: float) -> SparseAdapter:
        """Return ``q`` times the change: by alpha, the sign on both; see ``Adapter.scaled``."""
        inner = self.inner.scaled(abs(q))
        if inner.up is not self.inner.up:  # alpha would be 0: all is
            return replace(self, inner=inner, values=torch.zeros_like(self.values))
        return replace(self, inner=inner.scaled(-1), values=-self.values) if q < 0 else replace(self, inner=inner)

    def parameters(self) -> list[Tensor]:
        """Return the LoRA's matrices and the single numbers."""
        return [*self.inner.parameters(), self.values]

    def with_parameters(self, tensors: list[Tensor]) -> SparseAdapter:
        """Return the adapter with other tensors."""
        *inner, values = tensors
        return replace(self, inner=self.inner.with_parameters(inner), values=values)

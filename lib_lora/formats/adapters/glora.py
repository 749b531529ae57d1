"""GLoRA: ``scale · (B + W·A)`` with A and B of low rank (Chavan et al. 2023, arXiv:2306.07967; LyCORIS).

LyCORIS has ``A = a1·a2`` and ``B = b1·b2``; its first versions called the same matrices the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import alpha_tensor, read_alpha, shape_error, take_parts

_NAMES = ("a1.weight", "a2.weight", "b1.weight", "b2.weight")
_CORE = "bm.weight"


@dataclass(frozen=True, eq=False)
class GloraAdapter(Adapter):
    """``a1`` (in, r), ``a2`` (r, in), ``b1`` (out, r), ``b2`` (r, in[, kh, kw]), with core ``bm`` ``b2`` 1×1.

    ``is_old``: the file holds a1 and a2, and b1 and b2, under one another's names.
    """

    kind: ClassVar[str] = "glora"
    title: ClassVar[str] = "GLoRA"
    signs: ClassVar[str] = r"[ab][12]\.weight|bm\.weight"
    names: ClassVar[str] = signs
    needs_weight: ClassVar[bool] = True
    in_comfyui: ClassVar[bool] = True
    key: str
    a1: Tensor
    a2: Tensor
    b1: Tensor
    b2: Tensor
    bm: Tensor | None
    is_old: bool
    alpha: float

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the side that all four matrices share."""
        if not set(_NAMES) <= set(parts) or any(parts[name].ndim < 2 for name in _NAMES):
            return None
        a1 = parts["a1.weight"]
        return a1.shape[0 if _is_old(*(parts[name] for name in _NAMES)) else 1]

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> GloraAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=_NAMES, optional=(_CORE,))
        four, core = [tensors[name] for name in _NAMES], tensors.get(_CORE)
        if any(tensor.ndim not in (2, 4) for tensor in four):
            raise shape_error(key, tensors)
        is_old = _is_old(*four)
        a1, a2, b1, b2 = (four[1], four[0], four[3], four[2]) if is_old else four
        rank = a2.shape[0]
        fits = a1.shape[1] == b1.shape[1] == b2.shape[0] == rank and a1.shape[0] == a2.shape[1] == b2.shape[1]
        fits = fits and all(tensor[0, 0].numel() == 1 for tensor in (a1, a2, b1))
        fits = fits and (core is None or (core.ndim == 4 and tuple(core.shape[:2]) == (rank, rank)))
        if not fits:
            raise shape_error(key, tensors)
        return cls(key, a1, a2, b1, b2, core, is_old, read_alpha(key, parts, rank=rank))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        out, inputs = self.b1.shape[0], self.b2.shape[1]
        kernel = self.bm if self.bm is not None else self.b2
        return (out, inputs, *kernel.shape[2:])

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return ``scale · (b1·b2 + W·a1·a2)``; a convolution's inputs are mixed at each place of the kernel."""
        base = self.base(weight)
        a1, a2, b1 = (tensor.float().flatten(1) for tensor in (self.a1, self.a2, self.b1))
        b2 = self.b2.float()
        if self.bm is not None:
            b2 = torch.einsum("nmkl,mj->njkl", self.bm.float(), b2.flatten(1))
        through = torch.einsum("oi...,ij,jn->on...", base, a1, a2)
        return ((b1 @ b2.flatten(1)).reshape(base.shape) + through) * self.scale()

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by the names that they were read under."""
        order = (self.a2, self.a1, self.b2, self.b1) if self.is_old else (self.a1, self.a2, self.b1, self.b2)
        parts = {**dict(zip(_NAMES, order, strict=True)), "alpha": alpha_tensor(self.alpha)}
        return parts if self.bm is None else {**parts, _CORE: self.bm}

    def scaled(self, q: float) -> GloraAdapter:
        """Return ``q`` times the change: by alpha, the sign on what both sums have."""
        scaled = super().scaled(abs(q))
        if scaled.a1 is not self.a1:  # alpha would be 0: all is
            return replace(scaled, b1=torch.zeros_like(self.b1))
        return replace(scaled, a1=-self.a1, b1=-self.b1) if q < 0 else scaled


def _is_old(a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor) -> bool:
    """Whether the shapes only fit with the first versions' names."""
    if a1.shape[1] == a2.shape[0] == b1.shape[1] == b2.shape[0]:
        return False
    return a1.shape[0] == a2.shape[1] == b1.shape[0] == b2.shape[1]

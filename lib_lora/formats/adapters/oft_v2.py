"""OFT v2: the inputs of a layer are rotated block by block (Qiu et al. 2025, arXiv:2506.19847; PEFT's OFT).

``W' = W · Rᵀ``. Each block's skew Q is stored as its upper triangle; R is a short series of Q in place of an inverse,
unless PEFT's options say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt, prod, sqrt
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import shape_error, take_parts

if TYPE_CHECKING:
    from lib_lora.formats.peft import PeftOptions

_TRIANGLES, _TERMS = "oft_R.weight", "oft_R_terms"
USUAL_TERMS = 5
"""PEFT's ``num_cayley_neumann_terms``."""


@dataclass(frozen=True, eq=False)
class OftV2Adapter(Adapter):
    """``triangles`` (blocks, size·(size-1)/2), of one block for all where there is one; ``terms`` 0: the inverse."""

    kind: ClassVar[str] = "oft"
    title: ClassVar[str] = "OFT v2"
    signs: ClassVar[str] = r"oft_R\.weight|oft_R_terms"
    names: ClassVar[str] = signs
    is_linear: ClassVar[bool] = False
    needs_weight: ClassVar[bool] = True
    key: str
    triangles: Tensor
    terms: int = USUAL_TERMS
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> OftV2Adapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=(_TRIANGLES,), optional=(_TERMS,))
        triangles, terms = tensors[_TRIANGLES], tensors.get(_TERMS)
        if triangles.ndim != 2 or (terms is not None and terms.numel() != 1):
            raise shape_error(key, tensors)
        adapter = cls(key, triangles, USUAL_TERMS if terms is None or terms.is_meta else int(terms))
        if adapter.size * (adapter.size - 1) // 2 != triangles.shape[1]:
            raise shape_error(key, tensors)
        return adapter

    @classmethod
    def from_peft(cls, parts: dict[str, Tensor], options: PeftOptions, path: str) -> None:
        """Put what PEFT's options say into the parts: the terms, and ``coft``, which bounds each block's length."""
        terms = options.setting(path, "num_cayley_neumann_terms")
        terms = terms if isinstance(terms, int) else USUAL_TERMS
        terms = 0 if options.setting(path, "use_cayley_neumann") is False else terms
        if terms != USUAL_TERMS:
            parts[_TERMS] = torch.tensor(float(terms))
        eps, triangles = options.setting(path, "eps"), parts[_TRIANGLES]
        if options.setting(path, "coft") is True and isinstance(eps, float) and not triangles.is_meta:
            bound = eps / sqrt(len(triangles))
            lengths = triangles.float().norm(dim=1, keepdim=True) * sqrt(2)  # both triangles
            parts[_TRIANGLES] = triangles.float() * (bound / lengths).clamp(max=1)

    @property
    def size(self) -> int:
        """Inputs of a block."""
        return (1 + isqrt(1 + 8 * self.triangles.shape[1])) // 2

    @property
    def shape(self) -> tuple[int, ...]:
        """How many inputs are rotated; of one block for all, the block's."""
        return (len(self.triangles) * self.size,)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the blocks cover the layer's inputs; of a convolution with its kernel."""
        inputs = prod(shape[1:])
        shared = len(self.triangles) == 1 and inputs % self.size == 0
        return len(shape) > 1 and (shared or inputs == self.shape[0])

    def rotations(self) -> Tensor:
        """Return every block's R, (blocks, size, size) in fp32."""
        size = self.size
        rows, columns = torch.triu_indices(size, size, 1)
        skew = torch.zeros(len(self.triangles), size, size, device=self.triangles.device)
        skew[:, rows, columns] = self.triangles.float()
        skew = skew - skew.transpose(1, 2)
        eye = torch.eye(size, device=skew.device).expand_as(skew)
        if self.terms <= 0:
            return torch.linalg.solve(eye + skew, eye - skew, left=False)
        last = self.terms - 1 if self.terms < 3 else max(self.terms - 1, 3)  # PEFT: of three terms four are taken
        total, power = eye, eye
        for number in range(1, last + 1):
            power = power @ skew
            total = total + power * (1 if number == last and number > 1 else 2)
        return total

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return ``W · Rᵀ - W``."""
        base = self.base(weight)
        blocks = base.flatten(1).reshape(len(base), -1, self.size)
        rotations = self.rotations().expand(blocks.shape[1], -1, -1)
        return torch.einsum("okm,kjm->okj", blocks, rotations).reshape(base.shape) - base

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name; the terms only where they are not the usual ones."""
        parts = {_TRIANGLES: self.triangles}
        return parts if self.terms == USUAL_TERMS else {**parts, _TERMS: torch.tensor(float(self.terms))}

"""LoHa: ``alpha/rank · (w1_a·w1_b) ⊙ (w2_a·w2_b)`` (Hyeon-Woo et al. 2021, FedPara), with Tucker cores for conv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter, Factors
from lib_lora.formats.adapters.pairs import apart, below, evened
from lib_lora.formats.adapters.parts import alpha_tensor, first_side, read_alpha, shape_error, take_parts
from lib_lora.formats.adapters.start import Drawing

_WEIGHTS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_CORES = ("hada_t1", "hada_t2")


@dataclass(frozen=True, eq=False)
class LohaAdapter(Adapter):
    """``w_a`` (out, r) and ``w_b`` (r, in·kh·kw); with cores ``t`` (r, r, kh, kw): ``w_a`` (r, out), ``w_b`` (r, in).

    Without cores the file does not tell a kernel: the delta of a convolution is then 2-D, (out, in·kh·kw).
    """

    kind: ClassVar[str] = "loha"
    title: ClassVar[str] = "LoHa"
    signs: ClassVar[str] = r"hada_[wt]\d(?:_[ab])?"
    names: ClassVar[str] = signs
    has_factors: ClassVar[bool] = True
    in_comfyui: ClassVar[bool] = True
    key: str
    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    t1: Tensor | None
    t2: Tensor | None
    alpha: float

    @classmethod
    def begun(cls, key: str, shape: tuple[int, ...], draw: Drawing, *, rank: int, alpha: float) -> LohaAdapter:
        """Return a fresh adapter that changes nothing yet: ``w2_a`` is zero, the others normal, as LyCORIS begins.

        A kernel stands flat in the columns; see `Adapter.begun`.
        """
        out, columns = shape[0], prod(shape[1:])
        w1_a, w1_b = draw.normal((out, rank), 0.1), draw.normal((rank, columns), 1.0)
        w2_a, w2_b = draw.zeros((out, rank)), draw.normal((rank, columns), 1.0)
        return cls(key, w1_a, w1_b, w2_a, w2_b, None, None, alpha)

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rows of ``w1_b``."""
        return first_side(parts, "hada_w1_b")

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> LohaAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        cores = _CORES if not set(_CORES).isdisjoint(parts) else ()
        tensors = take_parts(key, parts, required=(*_WEIGHTS, *cores))
        if any(tensors[name].ndim != 2 for name in _WEIGHTS) or any(tensors[name].ndim != 4 for name in cores):
            raise shape_error(key, tensors)
        w1_a, w1_b, w2_a, w2_b = (tensors[name] for name in _WEIGHTS)
        t1, t2 = (tensors.get(core) for core in _CORES)
        adapter = cls(key, w1_a, w1_b, w2_a, w2_b, t1, t2, read_alpha(key, parts, rank=w1_b.shape[0]))
        if not adapter._consistent():
            raise shape_error(key, tensors)
        return adapter

    def _consistent(self) -> bool:
        """Whether the four (or six) shapes fit one another."""
        (a1, b1), (a2, b2) = (self.w1_a, self.w1_b), (self.w2_a, self.w2_b)
        if self.t1 is None or self.t2 is None:
            same_ranks = a1.shape[1] == b1.shape[0] and a2.shape[1] == b2.shape[0]
            return same_ranks and a1.shape[0] == a2.shape[0] and b1.shape[1] == b2.shape[1]
        same_ranks = all(
            tuple(t.shape[:2]) == (a.shape[0], b.shape[0]) for a, b, t in ((a1, b1, self.t1), (a2, b2, self.t2))
        )
        same_outer = a1.shape[1] == a2.shape[1] and b1.shape[1] == b2.shape[1]
        return same_ranks and same_outer and self.t1.shape[2:] == self.t2.shape[2:]

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        names = _WEIGHTS if self.t1 is None else (*_WEIGHTS, *_CORES)
        return {**dict(zip(names, self.parameters(), strict=True)), "alpha": alpha_tensor(self.alpha)}

    @property
    def rank(self) -> int:
        """Rows of ``w1_b``; the delta's own rank is up to its square."""
        return self.w1_b.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        if self.t1 is None:
            return (self.w1_a.shape[0], self.w1_b.shape[1])
        return (self.w1_a.shape[1], self.w1_b.shape[1], *self.t1.shape[2:])

    def _halves(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return both factors of the Hadamard product as (out, r) and (r, in·kh·kw), in fp32."""
        return tucker_pair(self.w1_a, self.w1_b, self.t1), tucker_pair(self.w2_a, self.w2_b, self.t2)

    def parted(self, rows: Sequence[Tensor]) -> list[Adapter | None]:
        """Return those rows of both products each, with their own directions only where no two need the same."""
        if self.t1 is not None:
            return [replace(self, w1_a=self.w1_a[:, at], w2_a=self.w2_a[:, at]) for at in rows]
        firsts = apart([self.w1_a[at] for at in rows], self.w1_b)
        seconds = apart([self.w2_a[at] for at in rows], self.w2_b)
        scale = self.scale()
        return [
            replace(self, w1_a=a1, w1_b=b1, w2_a=a2, w2_b=b2, alpha=scale * len(b1))
            for (a1, b1), (a2, b2) in zip(firsts, seconds, strict=True)
        ]

    @classmethod
    def joined(cls, parts: Sequence[Adapter | int]) -> LohaAdapter | None:
        """Return both products with the rows of all; none of a Tucker core."""
        there = [part for part in parts if not isinstance(part, int)]
        lohas = [part for part in there if isinstance(part, LohaAdapter) and part.t1 is None]
        if len(lohas) < len(there):
            return None
        firsts, scale = evened(lohas)
        pairs = zip(firsts, (part.w1_b for part in lohas), strict=True)
        both = [iter(pairs), iter([(part.w2_a, part.w2_b) for part in lohas])]
        (a1, b1), (a2, b2) = (below([p if isinstance(p, int) else next(one) for p in parts]) for one in both)
        return cls(lohas[0].key, a1, b1, a2, b2, None, None, scale * len(b1))

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight."""
        (a1, b1), (a2, b2) = self._halves()
        return ((a1 @ b1) * (a2 @ b2) * self.scale()).reshape(self.shape)

    def factors(self) -> Factors:
        """Return row-wise and column-wise Kronecker products: exact, of rank r²."""
        (a1, b1), (a2, b2) = self._halves()
        up = torch.einsum("oi,oj->oij", a1, a2).flatten(1)
        down = torch.einsum("in,jn->ijn", b1, b2).flatten(0, 1)
        return Factors(up * self.scale(), down, self.shape)


def tucker_pair(a: Tensor, b: Tensor, core: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return (out, r) and (r, in·kh·kw) in fp32; a core (r, r, kh, kw) goes into the second."""
    if core is None:
        return a.float(), b.float().flatten(1)
    return a.float().T.contiguous(), torch.einsum("ijkl,jn->inkl", core.float(), b.float()).flatten(1)

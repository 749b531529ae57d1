"""LoKr: ``scale · w1 ⊗ w2``, each factor whole or low-rank (Yeh et al. 2023, LyCORIS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isqrt, prod, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter, Factors, whole_pair
from lib_lora.formats.adapters.loha import tucker_pair
from lib_lora.formats.adapters.pairs import below, evened, same
from lib_lora.formats.adapters.parts import alpha_tensor, first_side, read_alpha, shape_error, take_parts
from lib_lora.formats.adapters.start import Drawing

_PREFIX = "lokr_"


@dataclass(frozen=True, eq=False)
class LokrAdapter(Adapter):
    """``w1`` (o1, i1) or ``w1_a·w1_b``; ``w2`` (o2, i2[, kh, kw]) or ``w2_a·w2_b``, for conv with core ``t2``.

    A low-rank ``w2`` without core does not tell a kernel: the delta of a convolution is then 2-D, (out, in·kh·kw).
    """

    kind: ClassVar[str] = "lokr"
    title: ClassVar[str] = "LoKr"
    signs: ClassVar[str] = r"lokr_[wt]\d(?:_[ab])?"
    names: ClassVar[str] = signs
    has_factors: ClassVar[bool] = True
    in_comfyui: ClassVar[bool] = True
    key: str
    w1: Tensor | None
    w1_a: Tensor | None
    w1_b: Tensor | None
    w2: Tensor | None
    w2_a: Tensor | None
    w2_b: Tensor | None
    t2: Tensor | None
    alpha: float

    @classmethod
    def begun(
        cls, key: str, shape: tuple[int, ...], draw: Drawing, *, rank: int, alpha: float, factor: int = -1
    ) -> LokrAdapter:
        """Return a fresh adapter that changes nothing yet, as LyCORIS begins: ``w1`` whole, ``w2`` of a rank and zero.

        Where ``rank`` is half of ``w2``'s longer side or more, ``w2`` is whole. ``factor`` splits the sides, see
        `split`; for the rest see `Adapter.begun`.
        """
        out, inputs, *kernel = shape
        (o1, o2), (i1, i2) = split(out, factor), split(inputs, factor)
        w1 = draw.uniform((o1, i1), 1 / sqrt(i1))
        if rank >= max(o2, i2) / 2:
            return cls(key, w1, None, None, draw.zeros((o2, i2, *kernel)), None, None, None, alpha)
        w2_a, w2_b = draw.uniform((o2, rank), 1 / sqrt(rank)), draw.zeros((rank, i2 * prod(kernel)))
        return cls(key, w1, None, None, None, w2_a, w2_b, None, alpha)

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rows of the low-rank factor that LyCORIS divides alpha by; None where both are whole."""
        return first_side(parts, "lokr_w2_b", "lokr_w1_b")

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> LokrAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        required = [f"{_PREFIX}w{n}" for n in (1, 2) if f"{_PREFIX}w{n}" in parts]
        required += [f"{_PREFIX}w{n}_{half}" for n in (1, 2) if f"{_PREFIX}w{n}" not in parts for half in ("a", "b")]
        core = () if f"{_PREFIX}w2" in parts else (f"{_PREFIX}t2",)
        tensors = take_parts(key, parts, required=required, optional=core)
        named = {name: tensors.get(_PREFIX + name) for name in _TENSORS}
        adapter = cls(key=key, alpha=1.0, **named)
        if not adapter._consistent():
            raise shape_error(key, tensors)
        return replace(adapter, alpha=read_alpha(key, parts, rank=adapter.rank))

    def _consistent(self) -> bool:
        """Whether the shapes fit one another."""
        if self.w1 is not None and self.w1.ndim != 2:
            return False
        if self.w2 is not None and self.w2.ndim not in (2, 4):
            return False
        if self.w1_a is not None and self.w1_b is not None and not _multiply(self.w1_a, self.w1_b):
            return False
        if self.w2_a is None or self.w2_b is None:
            return True
        if self.t2 is None:
            return _multiply(self.w2_a, self.w2_b)
        return (
            self.t2.ndim == 4
            and self.w2_a.ndim == self.w2_b.ndim == 2
            and tuple(self.t2.shape[:2]) == (self.w2_a.shape[0], self.w2_b.shape[0])
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        parts = {_PREFIX + name: tensor for name in _TENSORS if (tensor := getattr(self, name)) is not None}
        return {**parts, "alpha": alpha_tensor(self.alpha)}

    @property
    def rank(self) -> int:
        """Rank of the low-rank factor that LyCORIS divides alpha by; of two whole ones, the product of their ranks."""
        if self.w2_b is not None:
            return self.w2_b.shape[0]
        if self.w1_b is not None:
            return self.w1_b.shape[0]
        return min(_there(self.w1).shape) * min(_there(self.w2).flatten(1).shape)

    def scale(self) -> float:
        """Return alpha divided by rank; 1 where both factors are whole, as LyCORIS ignores alpha then."""
        return 1.0 if self._ignores_alpha() else self.alpha / self.rank

    def _ignores_alpha(self) -> bool:
        return self.w1 is not None and self.w2 is not None

    def _pairs(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return both Kronecker factors as products of two matrices, in fp32."""
        first = whole_pair(self.w1) if self.w1 is not None else tucker_pair(_there(self.w1_a), _there(self.w1_b), None)
        if self.w2 is not None:
            return first, whole_pair(self.w2)
        return first, tucker_pair(_there(self.w2_a), _there(self.w2_b), self.t2)

    def _kernel(self) -> tuple[int, ...]:
        """Return (kh, kw) where the file tells it."""
        if self.t2 is not None:
            return tuple(self.t2.shape[2:])
        return tuple(self.w2.shape[2:]) if self.w2 is not None else ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        out1, in1 = self.w1.shape if self.w1 is not None else (_there(self.w1_a).shape[0], _there(self.w1_b).shape[1])
        if self.w2 is not None:
            out2, in2 = self.w2.shape[:2]
        else:
            out2, in2 = _there(self.w2_a).shape[0 if self.t2 is None else 1], _there(self.w2_b).shape[1]
        return (out1 * out2, in1 * in2, *self._kernel())

    @property
    def _second_rows(self) -> int:
        """Rows of ``w2``: as many rows of the change belong to each row of ``w1``."""
        if self.w2 is not None:
            return self.w2.shape[0]
        return _there(self.w2_a).shape[0 if self.t2 is None else 1]

    def parted(self, rows: Sequence[Tensor]) -> list[Adapter | None]:
        """Return whole rows of ``w1``, or rows of ``w2`` beside one row of ``w1``; None where they lie across both."""
        return [self._of(at) for at in rows]

    def _of(self, rows: Tensor) -> LokrAdapter | None:
        side = self._second_rows
        first, second = rows // side, rows % side
        if len(rows) % side == 0:
            blocks = first.reshape(-1, side)
            inside = second.reshape(-1, side)
            if torch.equal(blocks, blocks[:, :1].expand_as(blocks)) and bool((inside == torch.arange(side)).all()):
                return self._with_first(blocks[:, 0])
        if not bool((first == first[0]).all()):
            return None
        one = self._with_first(first[:1])
        if self.w2 is not None:
            return replace(one, w2=self.w2[second])
        a = _there(self.w2_a)
        return replace(one, w2_a=a[second] if self.t2 is None else a[:, second])

    def _with_first(self, rows: Tensor) -> LokrAdapter:
        """Return it with some rows of ``w1``."""
        first, *rest = self.parameters()
        return self.with_parameters([first[rows], *rest])

    @classmethod
    def joined(cls, parts: Sequence[Adapter | int]) -> LokrAdapter | None:
        """Return the rows of their ``w1`` one below the other, where all have one ``w2``; else None."""
        there = [part for part in parts if not isinstance(part, int)]
        lokrs = [part for part in there if isinstance(part, LokrAdapter)]
        one, kinds = lokrs[0], {part.w1 is None for part in lokrs}
        alike = all(same(getattr(one, n), getattr(part, n)) for n in ("w2", "w2_a", "w2_b", "t2") for part in lokrs)
        side = one._second_rows
        blank = [part for part in parts if isinstance(part, int)]
        if len(lokrs) < len(there) or len(kinds) > 1 or not alike or any(rows % side for rows in blank):
            return None
        firsts, scale = evened(lokrs)
        each = zip(firsts, lokrs, strict=True)
        pairs = iter([(up, torch.eye(up.shape[1]) if part.w1_b is None else part.w1_b) for up, part in each])
        up, down = below([part // side if isinstance(part, int) else next(pairs) for part in parts])
        new = replace(one, w1=up) if one.w1 is not None else replace(one, w1_a=up, w1_b=down)
        return replace(new, alpha=one.alpha if one._ignores_alpha() else scale * new.rank)

    def factors_of(self, rows: Tensor) -> Factors:
        """Return the factors of some rows, from those rows of ``w1`` only that they need."""
        side = self._second_rows
        touched, inverse = torch.unique(rows // side, return_inverse=True)
        return super(LokrAdapter, self._with_first(touched)).factors_of(inverse * side + rows % side)

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight."""
        w1 = self.w1.float() if self.w1 is not None else _there(self.w1_a).float() @ _there(self.w1_b).float()
        if self.w2 is not None:
            w2 = self.w2.float().flatten(1)
        else:
            a2, b2 = tucker_pair(_there(self.w2_a), _there(self.w2_b), self.t2)
            w2 = a2 @ b2
        return torch.kron(w1, w2 * self.scale()).reshape(self.shape)

    def factors(self) -> Factors:
        """Return the Kronecker products of both factors' halves: ``(A₁B₁)⊗(A₂B₂) = (A₁⊗A₂)(B₁⊗B₂)``."""
        (a1, b1), (a2, b2) = self._pairs()
        return Factors(torch.kron(a1 * self.scale(), a2), torch.kron(b1, b2), self.shape)

    def scaled(self, q: float) -> LokrAdapter:
        """Return an adapter with ``q`` times the delta: by alpha, or where that is ignored by ``w1`` in its type."""
        scaled = super().scaled(q)
        if not self._ignores_alpha() or scaled.alpha == self.alpha:
            return scaled
        first, *rest = self.parameters()
        return self.with_parameters([self._times(first, q), *rest])


def split(side: int, factor: int = -1) -> tuple[int, int]:
    """Return a side of a matrix as a product, the smaller number first.

    The smaller one is ``factor`` or its partner where that divides the side, else the largest divisor up to ``factor``;
    without a factor (below 1) the two are as near to each other as they can be: 128 is 8 · 16.
    """
    if factor > 0 and side % factor == 0:
        return min(factor, side // factor), max(factor, side // factor)
    most = isqrt(side) if factor < 1 else min(factor, isqrt(side))
    small = next(number for number in range(most, 0, -1) if side % number == 0)
    return small, side // small


_TENSORS = tuple(field.name for field in fields(LokrAdapter) if field.name not in ("key", "alpha"))


def _multiply(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors are matrices that can be multiplied."""
    return left.ndim == right.ndim == 2 and left.shape[1] == right.shape[0]


def _there(tensor: Tensor | None) -> Tensor:
    """Return a tensor that is there, as `read` has seen: a factor is whole, or has both halves."""
    assert tensor is not None
    return tensor

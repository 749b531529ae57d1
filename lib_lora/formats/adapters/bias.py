"""A change of a layer's bias, alone or beside a change of its weight: ``diff_b`` (LyCORIS), ``lora_B.bias`` (PEFT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib_lora.formats.adapters.base import Adapter, Factors
from lib_lora.formats.adapters.layer import along_outputs, zeros_for
from lib_lora.formats.adapters.parts import checked, shape_error
from lib_lora.formats.adapters.registry import find_kind, read_adapter
from lib_lora.formats.adapters.rows import joined, parted
from lib_lora.sentences import say

_DIFF, _PEFT = "diff_b", "bias"


@dataclass(frozen=True, eq=False)
class BiasAdapter(Adapter):
    """``diff_b`` (out,) is added to the bias; ``inner`` changes the weight, None where nothing does.

    PEFT's bias is multiplied with alpha/rank as its LoRA is; it becomes a ``diff_b``.
    """

    kind: ClassVar[str] = "bias"
    title: ClassVar[str] = say("bias")
    signs: ClassVar[str] = f"{_DIFF}|{_PEFT}"
    names: ClassVar[str] = _DIFF
    takes_norms: ClassVar[bool] = True
    key: str
    inner: Adapter | None
    diff_b: Tensor

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rank of what changes the weight."""
        rest = _without_bias(parts)
        kind = find_kind(rest)
        return None if kind is None else kind.rank_in(rest)

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> BiasAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        rest = _without_bias(parts)
        inner = read_adapter(key, rest) if rest.keys() - {"alpha"} else None
        biases = checked(key, {name: parts[name] for name in (_DIFF, _PEFT) if name in parts})
        name, diff_b = next(iter(biases.items()))
        if len(biases) > 1 or diff_b.numel() != max(diff_b.shape or (1,)):
            raise shape_error(key, biases)
        if name == _PEFT:
            diff_b = diff_b.float() * (inner.scale() if inner is not None else 1.0)
        diff_b = diff_b.flatten()
        rows = inner.shape[0] if inner is not None and not inner.needs_weight else len(diff_b)
        if rows != len(diff_b):
            raise shape_error(key, biases)
        return cls(key, inner, diff_b)

    @property
    def alpha(self) -> float:  # type: ignore[override]  # of what is inside, not of the kind
        """Alpha of what changes the weight; 1 where nothing does."""
        return 1.0 if self.inner is None else self.inner.alpha

    @property
    def is_linear(self) -> bool:  # type: ignore[override]  # of what is inside, not of the kind
        """Whether what changes the weight is."""
        return self.inner is None or self.inner.is_linear

    @property
    def needs_weight(self) -> bool:  # type: ignore[override]  # of what is inside, not of the kind
        """Whether what changes the weight does."""
        return self.inner is not None and self.inner.needs_weight

    @property
    def has_factors(self) -> bool:  # type: ignore[override]  # of what is inside, not of the kind
        """Whether what changes the weight has some."""
        return self.inner is not None and self.inner.has_factors

    @property
    def is_thin(self) -> bool:  # type: ignore[override]  # of what is inside, not of the kind
        """Whether what changes the weight is."""
        return self.inner is not None and self.inner.is_thin

    @property
    def in_comfyui(self) -> bool:  # type: ignore[override]  # of what is inside, not of the kind
        """Whether ComfyUI reads what changes the weight; it reads every bias."""
        return self.inner is None or self.inner.in_comfyui

    def as_peft(self, *, folded: bool) -> BiasAdapter | None:
        """Return it with the change of the weight as PEFT holds it; a bias alone has no form there."""
        inner = None if self.inner is None else self.inner.as_peft(folded=folded)
        return None if inner is None else replace(self, inner=inner)

    @property
    def weight_part(self) -> Adapter | None:
        """What changes the weight."""
        return self.inner

    def with_weight_part(self, part: Adapter | None) -> Adapter:
        """Return the same change of the bias beside another one of the weight."""
        return replace(self, inner=part)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``; of a bias alone only its rows."""
        return tuple(self.diff_b.shape) if self.inner is None else self.inner.shape

    def parted(self, rows: Sequence[Tensor]) -> list[Adapter | None]:
        """Return those numbers of the bias each, beside the change of these rows."""
        biases = [self.diff_b[at] for at in rows]
        if self.inner is None:
            return [replace(self, diff_b=bias) for bias in biases]
        inner = zip(parted(self.inner, rows), biases, strict=True)
        return [None if one is None else replace(self, inner=one, diff_b=bias) for one, bias in inner]

    @classmethod
    def joined(cls, parts: Sequence[Adapter | int]) -> BiasAdapter | None:
        """Return the biases one behind the other, beside what becomes of the changes of weights."""
        sizes = [part if isinstance(part, int) else part.shape[0] for part in parts]
        inner = [part.inner if isinstance(part, BiasAdapter) else part for part in parts]
        changes = [size if one is None else one for one, size in zip(inner, sizes, strict=True)]
        weight = None if all(isinstance(one, int) for one in changes) else joined(changes)
        if weight is None and any(not isinstance(one, int) for one in changes):
            return None
        placed = zip(parts, sizes, strict=True)
        biases = [part.diff_b if isinstance(part, BiasAdapter) else torch.zeros(size) for part, size in placed]
        return cls(next(part.key for part in parts if not isinstance(part, int)), weight, torch.cat(biases))

    def network_args(self) -> dict[str, str]:
        """Return the names of what changes the weight; of a bias alone LyCORIS' full difference."""
        return {"algo": "full"} if self.inner is None else self.inner.network_args()

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether what changes the weight fits, and there are as many numbers as rows."""
        return shape[0] == len(self.diff_b) and (self.inner is None or self.inner.fits(shape))

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight; of a bias alone zeros."""
        return zeros_for(weight) if self.inner is None else self.inner.delta(weight)

    def bias_delta(self, bias: Tensor | None) -> Tensor | None:
        """Return the change of the bias, with what ``inner`` does to it."""
        more = None if self.inner is None else self.inner.bias_delta(bias)
        own = self.diff_b.float()
        return own if more is None else own + more

    def factors(self) -> Factors:
        """Return the factors of what changes the weight."""
        return super().factors() if self.inner is None else self.inner.factors()

    def cheap_work(self, layer: nn.Module) -> float:
        """Return the work of what changes the weight."""
        return 0.0 if self.inner is None else self.inner.cheap_work(layer)

    def apply(self, x: Tensor, layer: nn.Module, *, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return what ``inner`` adds, and the bias."""
        self.fitting_shape(layer)
        own = along_outputs(layer, self.diff_b, x)
        return own if self.inner is None else self.inner.apply(x, layer, weight=weight, bias=bias) + own

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        return {**({} if self.inner is None else self.inner.tensors()), _DIFF: self.diff_b}

    def scaled(self, q: float) -> BiasAdapter:
        """Return ``q`` times both changes; see ``Adapter.scaled``."""
        inner = None if self.inner is None else self.inner.scaled(q)
        return self if q == 1 else replace(self, inner=inner, diff_b=self._times(self.diff_b, q))

    def parameters(self) -> list[Tensor]:
        """Return what changes the weight and the bias."""
        return [*([] if self.inner is None else self.inner.parameters()), self.diff_b]

    def with_parameters(self, tensors: list[Tensor]) -> BiasAdapter:
        """Return the adapter with other tensors."""
        *inner, diff_b = tensors
        return replace(self, inner=None if self.inner is None else self.inner.with_parameters(inner), diff_b=diff_b)


def _without_bias(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in parts.items() if name not in (_DIFF, _PEFT)}

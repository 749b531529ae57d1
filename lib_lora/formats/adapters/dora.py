"""DoRA: the changed weight's rows or columns get learned lengths (Liu et al. 2024, arXiv:2402.09353, equation 5).

``W' = m · (W + Δ) / ‖W + Δ‖``, with Δ of a LoRA, a LoHa or a LoKr. PEFT and LyCORIS' ``wd_on_out`` keep one length for
each output, older LyCORIS one for each input; the shape of ``dora_scale`` tells which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.around import Around
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import checked, shape_error, take_parts
from lib_lora.formats.adapters.registry import find_kind, read_adapter
from lib_lora.formats.adapters.rows import joined, parted

_SCALE = "dora_scale"


@dataclass(frozen=True, eq=False)
class DoraAdapter(Around):
    """``inner`` is what is added first; ``dora_scale`` (out, 1[, 1, 1]) or (1, in[, 1, 1]) holds the lengths."""

    kind: ClassVar[str] = "dora"
    title: ClassVar[str] = "DoRA"
    signs: ClassVar[str] = _SCALE
    names: ClassVar[str] = signs
    is_linear: ClassVar[bool] = False
    needs_weight: ClassVar[bool] = True
    dora_scale: Tensor

    @classmethod
    def around(cls, inner: Adapter, weight: Tensor) -> DoraAdapter:
        """Return a DoRA of a fresh ``inner`` that changes nothing yet, one length for each input.

        The axis is the one that all hosts apply: AUTOMATIC1111's WebUI knows no other.

        Args:
            inner: what is added first.
            weight: the layer's own, (out, in[, kh, kw]).
        """
        lengths = weight.detach().float().transpose(0, 1).flatten(1).norm(dim=1)
        scale = lengths.to(inner.parameters()[0].device).reshape(1, -1, *[1] * (weight.ndim - 2))
        return cls(inner.key, inner, scale.clone().requires_grad_())

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rank of what is added first."""
        rest = _without_scale(parts)
        kind = find_kind(rest)
        return None if kind is None else kind.rank_in(rest)

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> DoraAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        rest = _without_scale(parts)
        if not rest.keys() - {"alpha"}:
            take_parts(key, parts, required=("lora_down.weight",), optional=(_SCALE,))  # raises: nothing is added
        inner, scale = read_adapter(key, rest), checked(key, {_SCALE: parts[_SCALE]})[_SCALE]
        scale = scale.reshape(-1, 1) if scale.ndim == 1 else scale
        if scale.ndim == 2 < len(inner.shape):  # PEFT's: as many sides as the weight has, so that they meet its rows
            scale = scale.reshape(*scale.shape, 1, 1)
        adapter = cls(key, inner, scale)
        if inner.needs_weight or scale.numel() != max(scale.shape[:2]) or not adapter._fits(inner.shape):
            raise shape_error(key, {**inner.tensors(), _SCALE: scale})
        return adapter

    @property
    def in_comfyui(self) -> bool:  # type: ignore[override]  # of what is inside, not of the kind
        """Whether ComfyUI reads what is added first."""
        return self.inner.in_comfyui

    def as_peft(self, *, folded: bool) -> DoraAdapter | None:
        """Return it with what is added first as PEFT holds it; PEFT has lengths of outputs only."""
        inner = self.inner.as_peft(folded=folded) if self.dora_scale.shape[1] == 1 else None
        return None if inner is None else replace(self, inner=inner)

    def parted(self, rows: Sequence[Tensor]) -> list[Adapter | None]:
        """Return those rows' lengths each; of lengths of inputs, which are of all rows, only another order of all."""
        inner = parted(self.inner, rows, thin=True)
        if self.dora_scale.shape[1] == 1:
            lengths = [self.dora_scale[at] for at in rows]
        elif all(torch.equal(at.sort().values, torch.arange(self.shape[0])) for at in rows):
            lengths = [self.dora_scale] * len(rows)
        else:
            return [None] * len(rows)
        new = zip(inner, lengths, strict=True)
        return [None if one is None else replace(self, inner=one, dora_scale=scale) for one, scale in new]

    @classmethod
    def joined(cls, parts: Sequence[Adapter | int]) -> DoraAdapter | None:
        """Return the lengths of all outputs, where every part has its own: of the others the model knows them."""
        doras = [part for part in parts if isinstance(part, DoraAdapter) and part.dora_scale.shape[1] == 1]
        if len(doras) < len(parts):
            return None
        inner = joined([part.inner for part in doras], thin=True)
        scale = torch.cat([part.dora_scale for part in doras])
        return None if inner is None else cls(doras[0].key, inner, scale)

    def network_args(self) -> dict[str, str]:
        """Return LyCORIS' names: what is added first, with its weight decomposed, and along which axis."""
        axis = {"wd_on_output": str(self.dora_scale.shape[1] == 1)}  # its own default is the other one than ours
        return {"algo": "lora", **self.inner.network_args(), "dora_wd": "True", **axis}

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether what is added first fits, and there are as many lengths as rows or columns."""
        return super().fits(shape) and self._fits(shape)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the lengths are as many; of a delta stored 2-D the columns are not known."""
        rows, columns = self.dora_scale.shape[:2]
        return rows == shape[0] if columns == 1 else shape[1] % columns == 0

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return ``m · (W + Δ) / ‖W + Δ‖ - W``."""
        base = self.base(weight)
        whole = base + self.inner.delta(base).reshape(base.shape)
        axis = 0 if self.dora_scale.shape[1] == 1 else 1
        lengths = whole.transpose(0, axis).flatten(1).norm(dim=1) + torch.finfo(torch.float32).eps  # as LyCORIS
        along = [-1 if side == axis else 1 for side in range(base.ndim)]
        return whole * (self.dora_scale.float().flatten() / lengths).reshape(along) - base

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        return {**self.inner.tensors(), _SCALE: self.dora_scale}

    def parameters(self) -> list[Tensor]:
        """Return the lengths and what is added first."""
        return [self.dora_scale, *self.inner.parameters()]

    def with_parameters(self, tensors: list[Tensor]) -> DoraAdapter:
        """Return the adapter with other tensors."""
        scale, *inner = tensors
        return replace(self, inner=self.inner.with_parameters(inner), dora_scale=scale)


def _without_scale(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in parts.items() if name != _SCALE}

"""T-LoRA: ``scale · (P·λ·Q - P₀·λ₀·Q₀)``, begun at singular directions (Soboleva et al. 2025, arXiv:2507.05964).

LyCORIS' files do not hold the beginning. As its own loader does, the strongest singular directions of the base weight
are taken for it. The masks by timestep belong to training; a file acts with all its ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter, low_rank_work
from lib_lora.formats.adapters.layer import layer_shape, weight_of
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.adapters.parts import alpha_tensor, first_side, read_alpha, shape_error, take_parts
from lib_lora.sentences import say

_Q, _P, _LAMBDA = "q_layer.weight", "p_layer.weight", "lambda_layer"


@dataclass(frozen=True, eq=False)
class TloraAdapter(Adapter):
    """``q`` (r, in[, 1, 1]), ``p`` (out, r[, 1, 1]), ``values`` (1, r)."""

    kind: ClassVar[str] = "tlora"
    title: ClassVar[str] = "T-LoRA"
    signs: ClassVar[str] = r"[qp]_layer\.weight|lambda_layer"
    names: ClassVar[str] = signs
    needs_weight: ClassVar[bool] = True
    key: str
    q: Tensor
    p: Tensor
    values: Tensor
    alpha: float

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rows of ``q``."""
        return first_side(parts, _Q)

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> TloraAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=(_Q, _P, _LAMBDA))
        q, p, values = tensors[_Q], tensors[_P], tensors[_LAMBDA]
        fits = q.ndim in (2, 4) and p.ndim in (2, 4) and q[0, 0].numel() == p[0, 0].numel() == 1
        if not fits or not q.shape[0] == p.shape[1] == values.numel():
            raise shape_error(key, tensors)
        return cls(key, q, p, values, read_alpha(key, parts, rank=q.shape[0]))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        return (self.p.shape[0], self.q.shape[1], *self.q.shape[2:])

    def assumed(self) -> str:
        """Return what the file does not say."""
        return say(
            "A T-LoRA does not say what it began with: the strongest directions of the model's weights are assumed."
        )

    def fitting_shape(self, layer: nn.Module) -> tuple[int, ...]:
        """Return the shape of the layer's weight; see ``Adapter.fitting_shape``."""
        shape = layer_shape(layer) or ()
        if len(shape) == 4 and prod(shape[2:]) > 1 and shape[:2] == self.shape[:2]:
            what = say(
                "A T-LoRA of a {rows}×{columns} convolution has no meaning: it only holds a 1×1 change, which its own "
                "program cannot run either",
                rows=shape[2],
                columns=shape[3],
            )
            raise InputError(what, where=self.key, cure="Train it again without convolutions (conv_dim 0).")
        return super().fitting_shape(layer)

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight."""
        return self._as_lora(self.base(weight), stamp=None).delta()

    def cheap_work(self, layer: nn.Module) -> float:
        """Return the work of both pairs of matrices."""
        return low_rank_work(2 * self.rank, layer)

    def apply(self, x: Tensor, layer: nn.Module, *, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return what both pairs of matrices give; the singular directions are found once for a weight."""
        self.fitting_shape(layer)
        weight = weight_of(layer) if weight is None else weight
        stamp = (weight.data_ptr(), weight._version, weight.device, weight.dtype)
        return self._as_lora(weight, stamp=stamp).to(device=x.device).apply(x, layer)

    def _as_lora(self, weight: Tensor, *, stamp: tuple[object, ...] | None) -> LoraAdapter:
        """Return the same change as a LoRA of twice the rank; kept for the weight that ``stamp`` tells."""
        kept = self.__dict__.get("_kept")
        if stamp is not None and kept is not None and kept[0] == stamp:
            return kept[1]
        left, sigma, right = torch.linalg.svd(self.base(weight).flatten(1), full_matrices=False)
        rank = self.rank
        up = torch.cat([self.p.float().flatten(1) * self.values.float().flatten(), -left[:, :rank] * sigma[:rank]], 1)
        down = torch.cat([self.q.float().flatten(1), right[:rank]], 0)
        lora = LoraAdapter(self.key, up, down, None, self.scale() * len(down))
        if stamp is not None:
            object.__setattr__(self, "_kept", (stamp, lora))
        return lora

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        return {_Q: self.q, _P: self.p, _LAMBDA: self.values, "alpha": alpha_tensor(self.alpha)}

    def scaled(self, q: float) -> TloraAdapter:
        """Return ``q`` times the change, all of it by alpha, a negative one too."""
        positive = super().scaled(abs(q))
        if positive.q is not self.q or positive.p is not self.p:  # alpha would be 0, which is read as the rank
            return replace(self, alpha=torch.finfo(torch.float32).tiny)
        return replace(positive, alpha=-positive.alpha) if q < 0 else positive

"""LoRA and LoCon: ``alpha/rank · up · down``, for 3×3 convolutions too, and with LyCORIS' Tucker core ``mid``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib_lora.formats.adapters.base import Adapter, Factors, low_rank_work
from lib_lora.formats.adapters.pairs import apart, below, evened
from lib_lora.formats.adapters.parts import (
    alpha_tensor,
    first_side,
    read_alpha,
    shape_error,
    take_parts,
)
from lib_lora.formats.adapters.start import Drawing

_UP, _DOWN, _MID = "lora_up.weight", "lora_down.weight", "lora_mid.weight"


@dataclass(frozen=True, eq=False)
class LoraAdapter(Adapter):
    """``up`` (out, r[, 1, 1]), ``down`` (r, in[, kh, kw]), and for Tucker ``mid`` (r, r, kh, kw) with ``down`` 1×1."""

    kind: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    signs: ClassVar[str] = r"lora_(?:up|down|mid)\.weight"
    names: ClassVar[str] = signs
    has_factors: ClassVar[bool] = True
    is_thin: ClassVar[bool] = True
    in_comfyui: ClassVar[bool] = True
    key: str
    up: Tensor
    down: Tensor
    mid: Tensor | None
    alpha: float

    @classmethod
    def begun(cls, key: str, shape: tuple[int, ...], draw: Drawing, *, rank: int, alpha: float) -> LoraAdapter:
        """Return a fresh adapter for a Linear or Conv2d that changes nothing yet (Hu et al. 2021, section 4.1).

        ``down`` is Kaiming-uniform with a = √5, that is ±1/√fan_in; ``up`` is zero; see `Adapter.begun`.
        """
        out, *rest = shape
        down = draw.uniform((rank, *rest), 1 / sqrt(prod(rest)))
        return cls(key, draw.zeros((out, rank, *[1] * (len(rest) - 1))), down, None, alpha)

    @classmethod
    def rank_in(cls, parts: Mapping[str, Tensor]) -> int | None:
        """Return the rows of ``down``."""
        return first_side(parts, _DOWN)

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> LoraAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=(_UP, _DOWN), optional=(_MID,))
        up, down, mid = tensors[_UP], tensors[_DOWN], tensors.get(_MID)
        rank = down.shape[0] if down.ndim else 0
        fits = up.ndim in (2, 4) and down.ndim in (2, 4) and up[0, 0].numel() == 1
        if fits and mid is None:
            fits = up.shape[1] == rank
        elif fits and mid is not None:
            fits = mid.ndim == 4 and tuple(mid.shape[:2]) == (up.shape[1], rank) and down[0, 0].numel() == 1
        if not fits:
            raise shape_error(key, tensors)
        return cls(key, up, down, mid, read_alpha(key, parts, rank=rank))

    @property
    def label(self) -> str:
        """LoCon where it changes a convolution with a kernel."""
        return "LoCon" if len(self.shape) == 4 and self.shape[2:] != (1, 1) else self.title

    def network_args(self) -> dict[str, str]:
        """Return nothing, or LyCORIS' name of a LoRA with a Tucker core."""
        return {} if self.mid is None else {"algo": "locon"}

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts by name."""
        parts = {_UP: self.up, _DOWN: self.down, "alpha": alpha_tensor(self.alpha)}
        return parts if self.mid is None else {**parts, _MID: self.mid}

    @property
    def rank(self) -> int:
        """Rows of ``down``."""
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        out, inputs = self.up.shape[0], self.down.shape[1]
        if self.mid is not None:
            return (out, inputs, *self.mid.shape[2:])
        if self.up.ndim == 2 and self.down.ndim == 2:
            return (out, inputs)
        return (out, inputs, *(self.down.shape[2:] or (1, 1)))

    def factors(self) -> Factors:
        """Return up and down; a Tucker core goes into down: ``D[n,j,k,l] = Σ_m mid[n,m,k,l]·down[m,j]``."""
        up, down = self.up.float().flatten(1), self.down.float()
        if self.mid is not None:
            down = torch.einsum("nmkl,mj->njkl", self.mid.float(), down.flatten(1))
        return Factors(up * self.scale(), down.flatten(1), self.shape)

    def as_peft(self, *, folded: bool) -> LoraAdapter:
        """Return it without a Tucker core; alpha/rank is multiplied into the side where fewer digits are lost."""
        up, down, scale = self.up, self.down, self.scale() if folded else 1.0
        if self.mid is not None:
            whole = torch.einsum("nmkl,mj->njkl", self.mid.double(), down.double().flatten(1))
            up, down = up.flatten(1)[..., None, None], whole.to(down.dtype)
        if (scale < 1) == bool(up.abs().max() >= down.abs().max()):
            up = self._times(up, scale) if scale != 1 else up
        else:
            down = self._times(down, scale) if scale != 1 else down
        return replace(self, up=up, down=down, mid=None, alpha=float(down.shape[0]) if folded else self.alpha)

    def parted(self, rows: Sequence[Tensor]) -> list[Adapter | None]:
        """Return those rows of up each; where no two need the same directions, with their own directions only."""
        ups = [self.up[at] for at in rows]
        pairs = apart(ups, self.down) if self.mid is None else [(up, self.down) for up in ups]
        scale = self.scale()
        return [replace(self, up=up, down=down, alpha=scale * len(down)) for up, down in pairs]

    @classmethod
    def joined(cls, parts: Sequence[Adapter | int]) -> LoraAdapter | None:
        """Return their ups one below the other, with all their directions; none of a Tucker core."""
        there = [part for part in parts if not isinstance(part, int)]
        loras = [part for part in there if type(part) is cls and part.mid is None]
        if len(loras) < len(there):
            return None
        ups, scale = evened(loras)
        pairs = iter(zip(ups, (part.down for part in loras), strict=True))
        up, down = below([part if isinstance(part, int) else next(pairs) for part in parts])
        return cls(loras[0].key, up, down, None, scale * len(down))

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight."""
        factors = self.factors()
        return (factors.up @ factors.down).reshape(factors.shape)

    def cheap_work(self, layer: nn.Module) -> float:
        """Return the work of up and down as a share of the layer's own."""
        return low_rank_work(self.rank, layer)

    def apply(self, x: Tensor, layer: nn.Module, *, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return ``scale · up(down(x))``: no weight of the layer's size is ever built."""
        return self.apply_hidden(x, layer, lambda hidden: hidden)

    def apply_hidden(self, x: Tensor, layer: nn.Module, between: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `apply` with something done to what stands between down and up.

        Args:
            x, layer: as in `apply`.
            between: gets and returns ``(…, r)`` of a Linear, ``(b, r, h, w)`` of a convolution.
        """
        shape = self.fitting_shape(layer)
        up, down = self.up.flatten(1).to(x), self.down.to(x)
        if not isinstance(layer, nn.Conv2d):
            hidden = between(self._linear_hidden(x, down))
            return nn.functional.linear(hidden * self.scale(), up)
        if self.mid is None:
            hidden = layer._conv_forward(x, down.reshape(self.rank, *shape[1:]), None)
        else:
            hidden = nn.functional.conv2d(x, down.reshape(self.rank, shape[1], 1, 1))
            hidden = layer._conv_forward(hidden, self.mid.to(x), None)
        return nn.functional.conv2d(between(hidden) * self.scale(), up[:, :, None, None])

    def _linear_hidden(self, x: Tensor, down: Tensor) -> Tensor:
        """Return ``down`` (and a 1×1 ``mid``) of the inputs of a Linear."""
        hidden = nn.functional.linear(x, down.flatten(1))
        return hidden if self.mid is None else nn.functional.linear(hidden, self.mid.to(x).flatten(1))

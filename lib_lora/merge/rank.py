"""Ranks: the spectrum of a change from its factors, and the rules that say how much of it to keep."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, Factors
from lib_lora.formats.keys import is_3x3_key
from lib_lora.options import find, option, options_of

_log = logging.getLogger(__name__)

NOISE = 1e-7
"""Singular values below this share of the largest are rounding noise of fp32."""
_SLICE = 2**20
"""Numbers that are computed in fp64 at once."""


@dataclass(frozen=True)
class RuleOptions:
    """What can be said of ranks; each rule's default is the value to start with."""

    sv_ratio: float = option(
        16.0,
        "strong directions (sv_ratio)",
        "Keeps what is stronger than the strongest direction divided by this; 16 is usual, larger keeps more.",
        low=1.001,
        high=1_000_000,
    )
    rank: int = option(
        16, "a fixed rank", "Keeps so many directions of every module: 4, 8, 16 …", low=1, high=100_000, form="N"
    )
    energy: float = option(
        0.95,
        "a share of the energy",
        "Keeps this share of the energy (squared singular values): 0.9 to 0.99.",
        low=0.0001,
        high=1,
    )
    cumulative: float = option(
        0.95, "a share of the strength", "Keeps this share of the sum of singular values.", low=0.0001, high=1
    )
    cap: int | None = option(
        None, "Largest rank", "Keeps at most so many directions, whatever the rule says.", low=1, high=100_000
    )


RULES = {one.name: one for one in options_of(RuleOptions, but=("cap",))}


@dataclass(frozen=True)
class RankRule:
    """How many singular values σ₁ ≥ σ₂ ≥ … to keep of each module.

    Args:
        kind: "rank": ``value`` of them; "sv_ratio": those above σ₁/value; "energy": the fewest whose squares sum up to
            ``value`` of all squares; "cumulative": the fewest that sum up to ``value`` of all.
        value: within the bounds of `RULES`.
        cap: at most so many, whatever the rule says.
    """

    kind: str
    value: float
    cap: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in RULES:
            raise InputError("There is no rank rule {rule!r}", rule=self.kind, cure="Use one of {names}.", names=RULES)
        object.__setattr__(self, "value", RULES[self.kind].read(self.value))
        object.__setattr__(self, "cap", find(RuleOptions, "cap").read(self.cap))

    def choose(self, sigma: Tensor, *, energy: float | None = None) -> int:
        """Return how many of ``sigma`` (m,), sorted downwards, to keep: 0 if all are 0, else at least 1.

        Where ``sigma`` holds only the largest ones, ``energy`` is the sum of all squares; an answer that is no smaller
        than m then means that more are needed to tell.
        """
        sigma = sigma.double()
        sigma = sigma[sigma > NOISE * sigma[0]] if sigma.numel() else sigma
        if not sigma.numel():
            return 0
        if self.kind == "rank":
            count = int(self.value)
        elif self.kind == "sv_ratio":
            count = int((sigma > sigma[0] / self.value).sum())
        else:
            sums = (sigma.square() if self.kind == "energy" else sigma).cumsum(0)
            whole = energy if energy is not None and self.kind == "energy" else float(sums[-1])
            count = int((sums < self.value * whole).sum()) + 1
        return min(count, sigma.numel(), self.cap or count)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A thin SVD in fp32: ``left`` (out, m), ``sigma`` (m,) downwards, ``right`` (m, in·kh·kw)."""

    left: Tensor
    sigma: Tensor
    right: Tensor


def spectrum(factors: Factors) -> Spectrum:
    """Return the SVD of ``up @ down``: QR of both factors and SVD of the small core, never of the dense matrix.

    Where the factors' rank reaches the smaller side, the product itself is the smaller problem.

    Raises:
        torch.linalg.LinAlgError: the SVD does not converge, in fp64 neither.
    """
    up, down = factors.up.detach(), factors.down.detach()
    if up.shape[1] >= min(up.shape[0], down.shape[1]):
        return dense_spectrum(up @ down)
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    left, sigma, right = _svd(r_up @ r_down.T)
    return Spectrum(q_up @ left, sigma, right @ q_down.T)


def dense_spectrum(matrix: Tensor) -> Spectrum:
    """Return the whole SVD of a matrix.

    Raises:
        torch.linalg.LinAlgError: it does not converge, in fp64 neither.
    """
    return Spectrum(*_svd(matrix))


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a thin SVD in fp32, in fp64 where fp32 does not converge."""
    try:
        return torch.linalg.svd(matrix, full_matrices=False)
    except torch.linalg.LinAlgError as error:
        _log.warning("SVD of a %s matrix in fp32: %s; trying fp64.", tuple(matrix.shape), error)
        left, sigma, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        return left.float(), sigma.float(), right.float()


def squared_norm(adapter: Adapter, layer: nn.Module | None = None) -> float:
    """Return the squared Frobenius norm of an adapter's changes of weight and bias; of a LoRA without forming them.

    Args:
        adapter: whose changes.
        layer: that it acts on; without it the norm of a change that depends on the layer's weight is NaN.
    """
    if adapter.needs_weight and layer is None:
        return math.nan
    weight, bias = (None, None) if layer is None else (layer.weight, getattr(layer, "bias", None))
    change = adapter.bias_delta(None if bias is None else bias.detach())
    more = 0.0 if change is None else squared(change)
    part = adapter.weight_part
    if part is None:
        return more
    return more + (product_norm(part.factors()) if part.is_thin else squared(part.delta(weight)))


def size_of(adapter: Adapter) -> float:
    """Return the squared norm of an adapter's change, of one that depends on the layer that of its numbers instead."""
    if adapter.needs_weight:
        return sum(map(squared, adapter.parameters()))
    return squared_norm(adapter)


def squared(tensor: Tensor) -> float:
    """Return the sum of squares in fp64, of which only a slice at a time is in memory."""
    return sum(float(part.double().square().sum()) for part in tensor.detach().flatten().split(_SLICE))


def product_norm(factors: Factors) -> float:
    """Return ``‖up·down‖²`` by ``tr(UᵀU·DDᵀ)``, without the product."""
    up, down = factors.up.detach().double(), factors.down.detach().double()
    return max(0.0, float(((up.T @ up) * (down @ down.T)).sum()))


def squared_difference(up: Tensor, down: Tensor, low_up: Tensor, low_down: Tensor) -> float:
    """Return ‖up·down − low_up·low_down‖² as ``(up−low_up)·down + low_up·(down−low_down)``, without the products."""
    left = torch.cat([up - low_up, low_up], dim=1).double()
    right = torch.cat([down, down - low_down], dim=0).double()
    product = float(((left.T @ left) * (right @ right.T)).sum())
    return abs(product)  # a sum of squares; cancellation can leave a negative rest of rounding, and NaN must stay


def full_shape(key: str, factors: Factors) -> tuple[int, ...]:
    """Return the delta's shape with the kernel of a 3×3 convolution, which LoHa and LoKr may leave out."""
    return with_kernel(key, factors.shape)


def with_kernel(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a delta's shape with the kernel of a 3×3 convolution where it is left out."""
    if len(shape) == 2 and is_3x3_key(key) and shape[1] % 9 == 0:
        return (shape[0], shape[1] // 9, 3, 3)
    return shape

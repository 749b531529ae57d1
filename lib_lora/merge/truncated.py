"""A spectrum's strongest directions as a LoRA, in a type that holds them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.formats.adapters import Factors, LoraAdapter
from lib_lora.formats.adapters.parts import as_fp32
from lib_lora.merge.rank import Spectrum, spectrum

_log = logging.getLogger(__name__)

Choose = Callable[[Tensor], int]
"""Gets a module's singular values; returns how many of them stay."""


@dataclass(frozen=True)
class Cut:
    """A change with its strongest directions only.

    Attributes:
        adapter: the new one; None where no direction stays, or so many that the change itself is no larger.
        count: how many directions stay.
        wanted, kept, error: squared norms of the change, of those directions, and of what is lost, rounding included.
    """

    adapter: LoraAdapter | None
    count: int
    wanted: float
    kept: float
    error: float


def cut(
    key: str,
    factors: Factors,
    choose: Choose,
    *,
    most: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    scale: float = 1.0,
) -> Cut:
    """Return the best approximation of a change (Eckart-Young) with as many directions as are chosen.

    Args:
        key: the module.
        factors: its change.
        choose: how many directions stay.
        most: from how many on the change stays what it is.
        shape, dtype, scale: of the new one; see `truncated`.

    Raises:
        torch.linalg.LinAlgError: the SVD does not converge.
    """

    def needed(sigma: Tensor) -> int:
        return wish if (wish := choose(sigma)) < most else 0

    found = spectrum(factors, needed)
    squares, count = found.sigma.double().square(), choose(found.sigma)
    wanted = float(squares.sum())
    if count == 0 or count >= most:
        return Cut(None, count, wanted, wanted if count else 0.0, 0.0 if count else wanted)
    small, rounding = truncated(key, found, count=count, shape=shape, dtype=dtype, scale=scale)
    return Cut(small, count, wanted, float(squares[:count].sum()), float(squares[count:].sum()) + rounding)


def truncated(
    key: str, found: Spectrum, *, count: int, shape: tuple[int, ...], dtype: torch.dtype, scale: float = 1.0
) -> tuple[LoraAdapter, float]:
    """Return the LoRA of the first ``count`` directions in a type, and its squared rounding error.

    √σ goes on both sides and alpha/rank is ``scale``, which keeps numbers in fp16's range; where it does not,
    alpha takes up the difference, and where that does not help the module is fp32.
    """
    kept = float(found.sigma[:count].double().square().sum())
    rows, columns = found.left.shape[0], found.right.shape[1]
    near_one = float(found.sigma[0]) / math.sqrt(rows * columns)  # with this scale factors hold numbers around 1
    for each in (scale, math.ldexp(1.0, math.frexp(near_one)[1])):
        small, error = _rounded(key, found, count=count, shape=shape, scale=each, dtype=dtype)
        if error <= torch.finfo(dtype).eps ** 2 * kept:
            return small, error
    _log.warning("%s is kept in fp32: its numbers do not fit into %s.", key, dtype)
    return _rounded(key, found, count=count, shape=shape, scale=each, dtype=torch.float32)


def _rounded(
    key: str, found: Spectrum, *, count: int, shape: tuple[int, ...], scale: float, dtype: torch.dtype
) -> tuple[LoraAdapter, float]:
    """Return a truncated spectrum as a LoRA of a type, and its squared rounding error (infinite on overflow)."""
    root = (found.sigma[:count] / scale).sqrt()
    up, down = found.left[:, :count] * root, root[:, None] * found.right[:count]
    low_up, low_down = up.to(dtype), down.to(dtype)
    error = _rounding(up, down, up - low_up.float(), down - low_down.float(), root) * scale**2
    if len(shape) == 4:
        low_up, low_down = low_up[:, :, None, None], low_down.reshape(count, *shape[1:])
    adapter = LoraAdapter(key, low_up.contiguous(), low_down.contiguous(), None, as_fp32(scale * count))
    return adapter, error if math.isfinite(error) else math.inf


def _rounding(up: Tensor, down: Tensor, left: Tensor, right: Tensor, root: Tensor) -> float:
    """Return ‖up·down − (up−left)(down−right)‖² of directions that are orthogonal on both sides, ``root`` long each.

    ``left`` and ``right`` are rounding: the product of both is not counted.
    """
    squares = root.square()
    own = (left.square().sum(dim=0) + right.square().sum(dim=1)) * squares
    both = (left.T @ up) * (right @ down.T).T
    return abs(float(own.double().sum() + 2 * both.double().sum()))

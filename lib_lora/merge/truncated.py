"""A spectrum's strongest directions as a LoRA, in a type that holds them."""

from __future__ import annotations

import logging
import math

import torch

from lib_lora.formats.adapters import LoraAdapter
from lib_lora.formats.adapters.parts import as_fp32
from lib_lora.merge.rank import Spectrum, squared_difference

_log = logging.getLogger(__name__)


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
    error = squared_difference(up, down, low_up.float(), low_down.float(), dtype=torch.float32) * scale**2
    if len(shape) == 4:
        low_up, low_down = low_up[:, :, None, None], low_down.reshape(count, *shape[1:])
    adapter = LoraAdapter(key, low_up.contiguous(), low_down.contiguous(), None, as_fp32(scale * count))
    return adapter, error if math.isfinite(error) else math.inf

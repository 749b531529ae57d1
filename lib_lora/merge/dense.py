"""Sums of changes that are no low-rank products: full differences, normalizations, biases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter, BiasAdapter, FullAdapter, NormAdapter
from lib_lora.sentences import say

Weighted = tuple[Adapter, float]
"""An adapter and its multiple."""


def dense_sum(key: str, shares: Sequence[Weighted], *, dtype: torch.dtype) -> tuple[Adapter | None, float, float]:
    """Return ``Σ q·Δ`` number by number, its squared norm, and the squared error of rounding it.

    The result is a normalization where all shares are, else a full difference, a bias, or both; None where all is 0.
    A type that is too small becomes fp32.

    Raises:
        InputError: the shares change weights of different shapes, or the sum is not finite.
    """
    weight = _total([(part.delta().detach(), q) for one, q in shares if (part := one.weight_part) is not None], key)
    changes = [(one.bias_delta(None), q) for one, q in shares]
    bias = _total([(change.detach(), q) for change, q in changes if change is not None], key)
    wanted = sum(float(total.double().square().sum()) for total in (weight, bias) if total is not None)
    if not math.isfinite(wanted):
        raise InputError("The sum holds numbers that are not finite", where=key, cure="Choose smaller strengths.")
    if wanted == 0:
        return None, 0.0, 0.0
    adapter, error = dense_adapter(key, [one for one, _ in shares], weight, bias, dtype=dtype)
    return adapter, wanted, error


def dense_adapter(
    key: str, sources: Sequence[Adapter], weight: Tensor | None, bias: Tensor | None, *, dtype: torch.dtype
) -> tuple[Adapter, float]:
    """Return changes in fp32, not all of them 0, as an adapter, and the squared error of rounding them.

    It is a normalization where all sources are; see `dense_sum`.
    """
    wanted = sum(float(total.double().square().sum()) for total in (weight, bias) if total is not None)
    for kind in (dtype, torch.float32):
        saved = [None if total is None else total.to(kind) for total in (weight, bias)]
        error = sum(_error(total, low) for total, low in zip((weight, bias), saved, strict=True))
        if error <= (4 * torch.finfo(kind).eps) ** 2 * wanted:
            break
    return _adapter(key, *saved, norm=all(isinstance(one, NormAdapter) for one in sources)), error


def _adapter(key: str, weight: Tensor | None, bias: Tensor | None, *, norm: bool) -> Adapter:
    if norm:
        return NormAdapter(key, weight, bias)
    full = None if weight is None else FullAdapter(key, weight)
    if bias is not None:
        return BiasAdapter(key, full, bias)
    assert full is not None  # one of the two is there: their norm is not 0
    return full


def _total(changes: Sequence[tuple[Tensor, float]], key: str) -> Tensor | None:
    """Return the sum of tensors times numbers, in the shape that has a kernel where one has."""
    if not changes:
        return None
    shape = max((change.shape for change, _ in changes), key=len)
    if any(change.shape[0] != shape[0] or change.numel() != math.prod(shape) for change, _ in changes):
        shapes = [str(tuple(change.shape)) for change, _ in changes]
        cure = say("Leave one of the files out.")
        raise InputError("The LoRAs change weights of different shapes: {shapes}", shapes=shapes, where=key, cure=cure)
    return sum((change.reshape(shape) * q for change, q in changes), torch.zeros(shape, device=changes[0][0].device))


def _error(total: Tensor | None, low: Tensor | None) -> float:
    if total is None or low is None:
        return 0.0
    error = float((total.double() - low.double()).square().sum())
    return error if math.isfinite(error) else math.inf

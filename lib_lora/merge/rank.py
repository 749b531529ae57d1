"""The spectrum and the size of a change, from its factors."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib_lora.formats.adapters import Adapter, Factors
from lib_lora.formats.keys import is_3x3_key

_log = logging.getLogger(__name__)

_SLICE = 2**20
"""Numbers that are computed in fp64 at once."""

_WELL = 1e-2
"""Where the diagonal of a QR's triangle spans no more than this, ``short @ R⁻¹`` is orthonormal to 1e-5: what a best
approximation loses by that is its square."""

_CANCELS = 1e-3
"""Share of ‖up‖²‖down‖² below which the norm of a product is computed in fp64: fp32 may have lost its digits."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A thin SVD in fp32: ``left`` (out, k), ``sigma`` (m,) downwards, ``right`` (k, in·kh·kw); k is m, or fewer."""

    left: Tensor
    sigma: Tensor
    right: Tensor


def spectrum(factors: Factors, keep: Callable[[Tensor], int] | None = None) -> Spectrum:
    """Return the SVD of ``up @ down``: QR of both factors and SVD of the small core, never of the dense matrix.

    Where the factors' rank reaches the smaller side, the product itself is the smaller problem.

    Args:
        factors: of the change.
        keep: gets all singular values and says how many directions are wanted; None: all.

    Raises:
        torch.linalg.LinAlgError: the SVD does not converge, in fp64 neither.
    """
    up, down = factors.up.detach(), factors.down.detach()
    if up.shape[1] >= min(up.shape[0], down.shape[1]):
        found = dense_spectrum(up @ down)
        count = len(found.sigma) if keep is None else keep(found.sigma)
        return Spectrum(found.left[:, :count], found.sigma, found.right[:count])
    if up.shape[0] >= down.shape[1]:
        return _thin(up, down, keep)
    turned = _thin(down.T, up.T, keep)
    return Spectrum(turned.right.T, turned.sigma, turned.left.T)


def _thin(long: Tensor, short: Tensor, keep: Callable[[Tensor], int] | None) -> Spectrum:
    """Return the SVD of ``long @ short``, long (m, r), short (r, n), r below both, and m no less than n.

    Of the longer factor only the triangle of its QR is computed: with V the right singular vectors, the left ones are
    ``long · (short · V) / σ``.
    """
    if keep is None:  # of σ = 0 only an orthonormal basis tells left singular vectors
        basis, other = torch.linalg.qr(short.T)
        q, triangle = torch.linalg.qr(long)
        left, sigma, right = _svd(triangle @ other.T)
        return Spectrum(q @ left, sigma, right @ basis.T)
    other = torch.linalg.qr(short.T, mode="r")[1]
    _, sigma, right = _svd(torch.linalg.qr(long, mode="r")[1] @ other.T)
    count = keep(sigma)
    scale = sigma[:count].clamp(min=torch.finfo(sigma.dtype).tiny)
    return Spectrum(long @ (other.T @ right[:count].T) / scale, sigma, _from_basis(right[:count], short, other))


def _from_basis(rows: Tensor, short: Tensor, triangle: Tensor) -> Tensor:
    """Return ``rows @ Qᵀ`` of the QR ``Q R`` of ``short.T``, by R alone where that loses no digit that counts."""
    sizes = triangle.diagonal().abs()
    if float(sizes.min()) > _WELL * float(sizes.max()):
        return torch.linalg.solve_triangular(triangle.T, rows, upper=False, left=False).mm(short)
    return rows @ torch.linalg.qr(short.T)[0].T


def singular_values(factors: Factors) -> Tensor:
    """Return the singular values (m,) of ``up @ down`` in fp32, downwards, without their directions.

    Raises:
        torch.linalg.LinAlgError: the SVD does not converge.
    """
    up, down = factors.up.detach(), factors.down.detach()
    if up.shape[1] >= min(up.shape[0], down.shape[1]):
        return torch.linalg.svdvals(up @ down)
    triangles = (torch.linalg.qr(side, mode="r")[1] for side in (up, down.T))
    left, right = triangles
    return torch.linalg.svdvals(left @ right.T)


def largest_singular_value(matrix: Tensor) -> float:
    """Return the largest singular value of a matrix, by subspace iteration on eight random directions.

    It stops when a step changes it by less than a hundred thousandth, or after 60 steps.
    """
    matrix = matrix.detach().float()
    basis = torch.randn(matrix.shape[1], 8, generator=torch.Generator().manual_seed(0)).to(matrix.device)
    before = 0.0
    for _ in range(60):
        basis = torch.linalg.qr(matrix.T @ torch.linalg.qr(matrix @ basis)[0])[0]
        found = float(torch.linalg.svdvals(matrix @ basis)[0])
        if abs(found - before) <= 1e-5 * found:
            break
        before = found
    return found


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
    """Return ``‖up·down‖²`` by ``tr(UᵀU·DDᵀ)``, without the product; in fp64 where the factors nearly cancel."""
    found = quick_norm(factors)
    if found is not None:
        return found
    up, down = factors.up.detach().double(), factors.down.detach().double()
    return max(0.0, float(((up.T @ up) * (down @ down.T)).sum()))


def quick_norm(factors: Factors) -> float | None:
    """Return `product_norm` from sums in fp32; None where the factors nearly cancel, so that these do not tell it."""
    up, down = factors.up.detach(), factors.down.detach()
    left, right = up.T @ up, down @ down.T
    found = float((left.double() * right.double()).sum())
    return found if found > _CANCELS * float(left.trace()) * float(right.trace()) else None


def squared_difference(
    up: Tensor, down: Tensor, low_up: Tensor, low_down: Tensor, *, dtype: torch.dtype = torch.float64
) -> float:
    """Return ‖up·down − low_up·low_down‖² as ``(up−low_up)·down + low_up·(down−low_down)``, without the products.

    Of the same numbers rounded fp32 tells it well enough.
    """
    left = torch.cat([up - low_up, low_up], dim=1).to(dtype)
    right = torch.cat([down, down - low_down], dim=0).to(dtype)
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

"""Tiny adapters of every family, and their dense change computed independently of the code under test."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_mid_block_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"

SHAPES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "linear": {"lora_up.weight": (6, 2), "lora_down.weight": (2, 8)},
    "conv1x1": {"lora_up.weight": (6, 2, 1, 1), "lora_down.weight": (2, 8, 1, 1)},
    "conv3x3": {"lora_up.weight": (6, 2, 1, 1), "lora_down.weight": (2, 8, 3, 3)},
    "tucker": {"lora_up.weight": (6, 2, 1, 1), "lora_down.weight": (2, 8, 1, 1), "lora_mid.weight": (2, 2, 3, 3)},
    "loha": {"hada_w1_a": (6, 2), "hada_w1_b": (2, 8), "hada_w2_a": (6, 2), "hada_w2_b": (2, 8)},
    "loha_conv": {"hada_w1_a": (6, 2), "hada_w1_b": (2, 72), "hada_w2_a": (6, 2), "hada_w2_b": (2, 72)},
    "loha_tucker": {
        "hada_w1_a": (2, 6),
        "hada_w1_b": (2, 8),
        "hada_w2_a": (2, 6),
        "hada_w2_b": (2, 8),
        "hada_t1": (2, 2, 3, 3),
        "hada_t2": (2, 2, 3, 3),
    },
    "lokr_whole": {"lokr_w1": (2, 4), "lokr_w2": (3, 2)},
    "lokr_second_low": {"lokr_w1": (2, 4), "lokr_w2_a": (3, 1), "lokr_w2_b": (1, 2)},
    "lokr_first_low": {"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 4), "lokr_w2": (3, 2)},
    "lokr_both_low": {"lokr_w1_a": (2, 2), "lokr_w1_b": (2, 4), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 2)},
    "lokr_conv": {"lokr_w1": (2, 4), "lokr_w2": (3, 2, 3, 3)},
    "lokr_conv_low": {"lokr_w1": (2, 4), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 18)},
    "lokr_tucker": {"lokr_w1": (2, 4), "lokr_t2": (2, 2, 3, 3), "lokr_w2_a": (2, 3), "lokr_w2_b": (2, 2)},
}
"""Part names and shapes; every linear delta is 6×8, every 3×3 one 6×8×3×3 or, unfolded, 6×72."""

IS_3X3 = frozenset({"conv3x3", "tucker", "loha_conv", "loha_tucker", "lokr_conv", "lokr_conv_low", "lokr_tucker"})


def sample(
    kind: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, alpha: float | None = 1.5
) -> dict[str, Tensor]:
    """Return the parts of one module filled with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    parts = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES[kind].items()}
    return parts if alpha is None else {**parts, "alpha": torch.tensor(alpha, dtype=dtype)}


def key_for(kind: str) -> str:
    """Return a real SD1 module name for a kind."""
    return CONV if kind in IS_3X3 else LINEAR


def reference(parts: Mapping[str, Tensor]) -> np.ndarray:
    """Return the dense change (out, in·kh·kw) in fp64, written as sums over indices."""
    p = {name: tensor.double().numpy() for name, tensor in parts.items()}
    if "lora_up.weight" in p:
        return _lora(p)
    return _loha(p) if "hada_w1_a" in p else _lokr(p)


def _alpha(p: Mapping[str, np.ndarray], rank: int) -> float:
    return float(p["alpha"]) / rank if "alpha" in p else 1.0


def _lora(p: Mapping[str, np.ndarray]) -> np.ndarray:
    up, down = p["lora_up.weight"], p["lora_down.weight"]
    rank = down.shape[0]
    up = up.reshape(up.shape[0], rank)
    if "lora_mid.weight" in p:
        down = np.einsum("abkl,bi->aikl", p["lora_mid.weight"], down[:, :, 0, 0])
    total = sum(np.multiply.outer(up[:, r], down[r]) for r in range(rank))
    return (total * _alpha(p, rank)).reshape(up.shape[0], -1)


def _loha(p: Mapping[str, np.ndarray]) -> np.ndarray:
    halves = []
    for n in (1, 2):
        a, b = p[f"hada_w{n}_a"], p[f"hada_w{n}_b"]
        core = p.get(f"hada_t{n}")
        halves.append(a @ b if core is None else np.einsum("ijkl,io,jn->onkl", core, a, b))
    return (halves[0] * halves[1] * _alpha(p, p["hada_w1_b"].shape[0])).reshape(halves[0].shape[0], -1)


def _lokr(p: Mapping[str, np.ndarray]) -> np.ndarray:
    low = [name for name in ("lokr_w2_b", "lokr_w1_b") if name in p]
    scale = _alpha(p, p[low[0]].shape[0]) if low else 1.0
    first = p["lokr_w1"] if "lokr_w1" in p else p["lokr_w1_a"] @ p["lokr_w1_b"]
    if "lokr_t2" in p:
        second = np.einsum("ijkl,io,jn->onkl", p["lokr_t2"], p["lokr_w2_a"], p["lokr_w2_b"])
    else:
        second = p["lokr_w2"] if "lokr_w2" in p else p["lokr_w2_a"] @ p["lokr_w2_b"]
    second = second.reshape(second.shape[0], -1)
    (o1, i1), (o2, n2) = first.shape, second.shape
    delta = np.zeros((o1 * o2, i1 * n2))
    for a, b, c, d in itertools.product(range(o1), range(i1), range(o2), range(n2)):
        delta[a * o2 + c, b * n2 + d] = first[a, b] * second[c, d]
    return delta * scale


def relative(got: Tensor | np.ndarray, wanted: np.ndarray) -> float:
    """Return the relative Frobenius distance of two matrices of as many numbers."""
    got = got.detach().double().numpy() if isinstance(got, Tensor) else got
    return float(np.linalg.norm(got.reshape(wanted.shape) - wanted) / max(np.linalg.norm(wanted), 1e-30))

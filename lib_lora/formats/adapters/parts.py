"""The checks that the reading of every kind shares: which tensors are there, of what type, and alpha."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from lib_lora.errors import FileError

SCALES = ("weight_scale", "scale_weight", "weight_scale_inv", "weight_scale_2", "input_scale", "scale_input")
"""Ends of the names of what fp8 numbers are multiplied by."""


def as_fp32(value: float) -> float:
    """Return ``value`` rounded to what fp32 can hold; infinity beyond."""
    return ctypes.c_float(value).value


def take_parts(
    key: str, parts: Mapping[str, Tensor], *, required: Collection[str], optional: Collection[str] = ()
) -> dict[str, Tensor]:
    """Return the tensors of one key after checking that none is missing, unknown, empty or not of real numbers.

    Raises:
        FileError: any of this is not so; the key is named.
    """
    missing = sorted(set(required) - set(parts))
    unknown = sorted(set(parts) - set(required) - set(optional) - {"alpha"})
    if missing:
        raise FileError("{part} is missing", part=missing[0], where=key, cure="The file is incomplete; get it again.")
    if any(name.endswith(SCALES) for name in unknown):
        raise scaled_fp8(key)
    if unknown:
        raise FileError(
            "The part {part} is not understood",
            part=unknown[0],
            where=key,
            cure="Get the file again, or use another one.",
        )
    return checked(key, {name: tensor for name, tensor in parts.items() if name != "alpha"})


def checked(key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors after checking that none is empty or not of real numbers.

    Raises:
        FileError: one is; the key is named.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            raise FileError(
                "{part} holds no real numbers", part=name, where=key, cure="The file is broken; get it again."
            )
    return tensors


def scaled_fp8(where: str) -> FileError:
    """Return the error of fp8 numbers whose scales stand beside them: without these they mean something else."""
    return FileError("Scaled fp8 is not read", where=where, cure="Use an fp16 file of this LoRA.")


def shape_error(key: str, tensors: Mapping[str, Tensor]) -> FileError:
    """Return the error that names the shapes which do not fit one another."""
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(tensors.items()))
    return FileError(
        "Ranks or shapes do not fit: {shapes}", shapes=shapes, where=key, cure="The file is broken; get it again."
    )


def read_alpha(key: str, parts: Mapping[str, Tensor], *, rank: int) -> float:
    """Return alpha: a 0-D or 1-element tensor; missing or 0 means rank."""
    tensor = parts.get("alpha")
    if tensor is None:
        return float(rank)
    if tensor.numel() != 1:
        raise FileError(
            "The alpha holds {n} numbers", n=tensor.numel(), where=key, cure="The file is broken; get it again."
        )
    alpha = float(tensor)
    if not math.isfinite(alpha) or not math.isfinite(as_fp32(alpha)):
        raise FileError("The alpha is {value}", value=alpha, where=key, cure="The file is broken; get it again.")
    if as_fp32(alpha) == 0.0:
        return float(rank)  # as LyCORIS takes it; `LoraFile.notes` says so
    return as_fp32(alpha)


def alpha_tensor(alpha: float) -> Tensor:
    """Return alpha as it is stored: 0-D, fp32."""
    return torch.tensor(alpha, dtype=torch.float32)


def first_side(parts: Mapping[str, Tensor], *names: str) -> int | None:
    """Return the first side of the first of these parts that is there and has sides; None where none has."""
    return next((parts[name].shape[0] for name in names if name in parts and parts[name].ndim), None)


def read_constraint(key: str, parts: Mapping[str, Tensor]) -> float:
    """Return the alpha of kinds whose alpha is a bound: 0 or missing means none."""
    alpha = read_alpha(key, parts, rank=1)
    tensor = parts.get("alpha")
    return 0.0 if tensor is None or not as_fp32(float(tensor)) else alpha

"""What the model computes in: as it is loaded, or under torch's autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from lib_lora.errors import InputError
from lib_lora.host.base import LoadedModel
from lib_lora.options import AUTO

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SCALE = 2.0**15
"""What a loss is multiplied with where gradients pass through fp16."""


def check_precision(precision: str, model: LoadedModel) -> None:
    """Refuse a precision that the model or its device cannot compute in.

    Raises:
        InputError: fp16 without a GPU, or fp32 of a model that is loaded in 16 bits.
    """
    if precision == "fp16" and model.device.type == "cpu":
        raise InputError("Training in fp16 needs a GPU", where="precision", cure="Choose bf16, or leave it at auto.")
    if precision == "fp32" and model.loss_scale != 1.0:
        raise InputError(
            "The model is loaded in 16 bits, and what was rounded does not come back",
            where="precision",
            cure="Leave it at auto, or choose bf16.",
        )
    if precision == "bf16" and model.device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("This GPU does not compute in bf16", where="precision", cure="Choose fp16.")


def computing(model: LoadedModel, precision: str) -> AbstractContextManager[Any]:
    """Return autocast where bf16 or fp16 was asked for; fp32 and auto leave all as it is loaded."""
    if precision == AUTO or precision not in _TYPES:
        return nullcontext()
    return torch.autocast(model.device.type, dtype=_TYPES[precision])


def scale_for(model: LoadedModel, precision: str) -> float:
    """Return what the loss is multiplied with: gradients that pass through bf16 or fp32 need nothing."""
    return SCALE if precision == "fp16" else model.loss_scale

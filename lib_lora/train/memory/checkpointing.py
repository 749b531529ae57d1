"""Gradient checkpointing: a block keeps its input only, and is run again when its gradients are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lib_lora.train.memory.forward import Forward, run_through


def checkpointed(blocks: Iterable[nn.Module]) -> AbstractContextManager[None]:
    """Recompute the blocks in the backward pass (arXiv:1604.06174) while the context lasts.

    Losses and gradients are those of a plain run: the same work is done on the same numbers, dropouts included. Works
    on any module, in the hosts' models as in ours, and costs nothing where no gradient is asked for.
    """
    return run_through(blocks, _recomputed)


def _recomputed(_: nn.Module, plain: Forward) -> Forward:
    def forward(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*given, **named)
        return checkpoint(plain, *given, use_reentrant=False, **named)

    return forward

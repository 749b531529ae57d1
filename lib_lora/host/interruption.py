"""A person's stop acts inside a step: a step of many pictures on a slow machine takes longer than anybody waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lib_lora.progress import Progress


class Interrupted(Exception):
    """Somebody stopped the work that runs in a network; what it was making is given up."""


@contextmanager
def interruptible(network: nn.Module, progress: Progress) -> Iterator[None]:
    """Look at ``progress.stopped`` before each part of ``network`` that computes (a leaf with parameters).

    Raises:
        Interrupted: out of the network's forward, once somebody has stopped. The hooks are gone afterwards.
    """

    def look(module: nn.Module, inputs: Any) -> None:
        if progress.stopped:
            raise Interrupted

    leaves = [m for m in network.modules() if not any(m.children()) and next(m.parameters(), None) is not None]
    handles = [leaf.register_forward_pre_hook(look) for leaf in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

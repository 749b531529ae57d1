"""The blocks of a network: the parts that are stored otherwise, swapped, or run in another way as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Forward = Callable[..., Any]
_PLACES = re.compile(
    r"(?:.*\.)?(?:"
    r"(?:down_blocks|up_blocks)\.\d+\.(?:resnets|attentions|downsamplers|upsamplers)\.\d+"  # diffusers
    r"|mid_block\.(?:resnets|attentions)\.\d+"
    r"|(?:input_blocks|output_blocks)\.\d+\.\d+|middle_block\.\d+"  # LDM, as the WebUIs have it
    r"|encoder\.layers\.\d+"  # CLIP of transformers
    r"|resblocks\.\d+"  # OpenCLIP
    r")"
)
_INNER = re.compile(r"transformer_blocks\.\d+")


def blocks_of(networks: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the blocks of all networks in the order of their names, none inside another, in either naming.

    Where one holds several transformer blocks (SDXL has up to 10), each of these is a block: what is kept in memory at
    once then stays small.
    """
    return [part for network in networks for block in _places(network) for part in _parts(block)]


def _places(network: nn.Module) -> list[nn.Module]:
    found = [module for name, module in network.named_modules() if _PLACES.fullmatch(name)]
    return [module for module in found if any(True for _ in module.parameters())]


def _parts(block: nn.Module) -> list[nn.Module]:
    inner = [module for name, module in block.named_modules() if _INNER.fullmatch(name)]
    return inner if len(inner) > 1 else [block]


@contextmanager
def run_through(modules: Iterable[nn.Module], wrap: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Have each module run as ``wrap(module, its forward)`` says while the context lasts.

    A host that has put a forward of its own on the object gets exactly that back; hooks stay and are called as before.
    """
    missing = object()
    kept = [(module, module.__dict__.get("forward", missing)) for module in modules]
    try:
        for module, _ in kept:
            module.__dict__["forward"] = wrap(module, module.forward)
        yield
    finally:
        for module, before in kept:
            if before is missing:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = before


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

"""The blocks of a network: the parts that are recomputed, stored otherwise or swapped as one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

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

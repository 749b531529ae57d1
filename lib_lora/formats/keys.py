"""Key names: which layer of the model a LoRA's module changes, in kohya, diffusers and LDM spelling."""

from __future__ import annotations

import re
from functools import lru_cache

from lib_lora.architectures.base import Architecture
from lib_lora.architectures.modules import ModuleName
from lib_lora.architectures.registry import find_architecture
from lib_lora.architectures.unet import Unet
from lib_lora.blocks.layouts import BASE, OTHER
from lib_lora.errors import InputError
from lib_lora.sentences import say

_KOHYA = re.compile(
    r"(?:lora_(?:unet|te\d?|transformer|prior(?:_unet|_te)?)|lycoris|oft_(?:unet|te\d?))_|lora_(?=llm_adapter_)"
)
_TEXT = re.compile(r"(?:lora|oft)_te(\d?)_")
_3X3 = re.compile(
    r"_(?:conv1|conv2|in_layers_2|out_layers_3|(?:down|up)samplers_0_conv|op|\d_conv|conv_in|conv_out"
    r"|input_blocks_0_0|unet_out_2)$"
)


def is_module_key(name: str) -> bool:
    """Whether a tensor's or module's name starts as the names of LoRA trainers do."""
    return _KOHYA.match(name) is not None


def is_3x3_key(key: str) -> bool:
    """Whether a kohya module name means a 3×3 convolution, for kinds of adapters that do not store the kernel."""
    return _3X3.search(key) is not None


def block_of_key(key: str, family: str) -> str:
    """Return the block of a kohya module name; text encoders are BASE (in Flux CLIP or T5), strangers ``other``."""
    known, (number, path) = find_architecture(family), _parts(key)
    if number is not None:
        return BASE if known is None else known.block_of_text(number)
    return OTHER if path is None or known is None else known.block_of_path(path)


@lru_cache(maxsize=2**15)
def _parts(key: str) -> tuple[str | None, str | None]:
    """Return a text encoder's number in a key, or the path of another key; None where it has none."""
    text, prefix = _TEXT.match(key), _KOHYA.match(key)
    return None if text is None else text.group(1), None if prefix is None else key[prefix.end() :]


def has_module_table(family: str) -> bool:
    """Whether every module's name in a family's models is known, so that one which fits none can be told."""
    known = find_architecture(family)
    return known is not None and known.unet is not None


def find_module(key: str, family: str) -> ModuleName | None:
    """Return all names of the module that a kohya key in either spelling means; None of a family without a table."""
    known = find_architecture(family)
    return None if known is None else known.find(key)


def module_table(family: str, conv: bool = False) -> list[ModuleName]:
    """Return the modules of a complete LoRA file of a family: attention and feed-forward, with ``conv`` ResNets too.

    SDXL's UNet keys use LDM names, as its trainers write them; ``find_module`` knows both spellings.
    """
    return _tabled(family).modules(conv=conv)


def to_ldm(path: str, family: str) -> str:
    """Return the LDM spelling of a dotted UNet path in diffusers spelling; a tail such as ``.weight`` stays.

    Raises:
        InputError: no UNet of the family has this path.
    """
    return _found(_unet(family).to_ldm(path), path, family)


def to_diffusers(path: str, family: str) -> str:
    """Return the diffusers spelling of a dotted UNet path in LDM spelling: the inverse of ``to_ldm``.

    Raises:
        InputError: no UNet of the family has this path.
    """
    return _found(_unet(family).to_diffusers(path), path, family)


def _tabled(family: str) -> Architecture:
    known = find_architecture(family)
    if known is None or known.unet is None:
        raise InputError(
            "There are no key names for models of the family {family}", family=family, cure="Use SD1, SD2 or SDXL."
        )
    return known


def _unet(family: str) -> Unet:
    found = _tabled(family).unet
    assert found is not None
    return found


def _found(path: str | None, asked: str, family: str) -> str:
    if path is None:
        cure = say("Choose another model.")
        raise InputError("A UNet of the family {family} has no such module", family=family, where=asked, cure=cure)
    return path

"""LoRAs of kinds that the host's own loader applies and we do not: it gets what its two strengths can say."""

from __future__ import annotations

from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.errors import InputError
from lib_lora.formats.contents import Contents
from lib_lora.formats.keys import block_of_key
from lib_lora.host.webui.tags import HostReading

_BY_HOST = frozenset({"old OFT"})
"""Kinds that we only describe and the loader of A1111 1.10.1 builds a module for (`network_*.py`), by their titles."""


def only_by_host(contents: Contents) -> bool:
    """Tell whether a file holds kinds that we do not apply, and none that the host's loader would refuse."""
    return bool(contents.not_applied) and _BY_HOST.issuperset(contents.not_applied)


def whole_reading(tag: ResolvedTag, contents: Contents, family: str) -> HostReading:
    """Return what the host's loader is to do: one strength for the UNet, one for the text encoder.

    Args:
        tag: without the analyzer's vector; its numbers of all modules must come to one for each of the two.
        contents: of a file for which `only_by_host` holds.
        family: of the loaded model.

    Raises:
        InputError: the tag says more than two strengths can.
    """
    kinds = ", ".join(contents.not_applied)
    if tag.sweep is not None:
        raise InputError(
            f"A LoRA of the kind {kinds} cannot be analyzed block by block",
            where=tag.name,
            cure="Use a file of another kind, such as LoRA or LoHa.",
        )
    if tag.start is not None or tag.stop is not None:
        raise InputError(
            f"A LoRA of the kind {kinds} cannot begin or end within a picture",
            where=tag.name,
            cure="Write the tag without start=, stop= and step=.",
        )
    te, unet = set(), set()
    for module in contents.modules:
        strengths = te if module.key.startswith("lora_te") else unet
        strengths.add(tag.multiplier(block_of_key(module.key, family), module.key, family))
    if len(te) > 1 or len(unet) > 1:
        raise InputError(
            f"The blocks of a LoRA of the kind {kinds} cannot have different weights",
            where=tag.name,
            cure="Give all blocks of the UNet the same weight, or write the tag without weights.",
        )
    return HostReading(tag.name, te.pop() if te else 0.0, unet.pop() if unet else 0.0, tag.dyn)


def whole_note(reading: HostReading, contents: Contents) -> str:
    """Return the sentence that says who applies the LoRA, and how strongly."""
    kinds = ", ".join(contents.not_applied)
    return (
        f"It holds {kinds}, so the WebUI applies it by itself: "
        f"UNet {reading.unet:g}, text encoder {reading.te:g} in all blocks."
    )

"""A part of a file: modules left out, or the file in several; names, numbers and types stay bit for bit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from lib_lora.blocks.block_list import parse_block_list
from lib_lora.blocks.layouts import BASE, OTHER, blocked_families, full_layout
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.adapters.on_disk import SomeTensors
from lib_lora.formats.forms import part_of
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile, WholeFile
from lib_lora.formats.metadata import complete
from lib_lora.formats.peft import HEADER_KEY
from lib_lora.merge.rank import squared_norm
from lib_lora.merge.recipe import hashed, merged
from lib_lora.sentences import say

UNET = "unet"
TEXT = "text"
REST = "rest"


@dataclass(frozen=True)
class Portion:
    """Some modules of a file, not yet saved.

    Attributes:
        tensors: under the file's own names.
        metadata: with the recipe.
        lora: the adapters that are left; those of a large file without their numbers.
    """

    tensors: Mapping[str, Tensor]
    metadata: dict[str, str]
    lora: LoraFile

    def named(self, name: str) -> dict[str, str]:
        """Return the metadata of a file of this name."""
        return complete(self.metadata, self.lora.adapters, family=self.lora.family, name=name)


def portion(source: WholeFile, keys: Collection[str], step: Mapping[str, object], *, extras: bool) -> Portion:
    """Return some modules of a file.

    Args:
        source: the file.
        keys: kohya's names of the modules that are kept.
        step: what the recipe says of it.
        extras: whether tensors that are none of a LoRA's (bundled embeddings and the like) are kept.

    Raises:
        InputError: nothing is left.
    """
    adapters = {key: adapter for key, adapter in source.lora.outline.items() if key in keys}
    if not adapters:
        raise InputError("Nothing is left of the file", where=source.lora.name, cure="Keep at least one module.")
    of = source.found.keys
    names = [name for name in source.tensors if (of[name] in adapters if name in of else extras)]
    tensors = SomeTensors(source.tensors, names)
    made = merged(
        LoraFile(adapters, extras=source.lora.extras if extras else {}), source.lora, {**step, **hashed(source.lora)}
    )
    made.family = source.lora.family  # some blocks alone would not always tell it
    if HEADER_KEY in source.metadata:  # by path, so that what is said of other modules does no harm
        made.metadata[HEADER_KEY] = source.metadata[HEADER_KEY]
    return Portion(tensors, made.metadata, made)


def without(
    lora: LoraFile, *, text: bool = False, blocks: str = "", modules: Collection[str] = (), zero: bool = False
) -> dict[str, str]:
    """Return the modules that are to go, and why: "text", "blocks", "modules" or "zero".

    Args:
        lora: the file.
        text: those of text encoders.
        blocks: those of these blocks: ``IN01, OUT03-OUT05``.
        modules: those with one of these texts in their name.
        zero: those that change nothing.

    Raises:
        InputError: a block, or a text in a module's name, that the file does not have.
    """
    family = lora.family
    gone: dict[str, str] = {}
    groups = _groups(blocks, family)
    named = {name for group in groups for name in group}
    missing = ["–".join(dict.fromkeys((one[0], one[-1]))) for one in groups if not lora.blocks().keys() & set(one)]
    if missing:
        raise InputError("The file has no {blocks}", blocks=missing, where=lora.name, cure="Name other blocks.")
    for one in modules:
        if not any(one in key for key in lora.adapters):
            what = say("No module's name has “{text}” in it", text=one)
            raise InputError(what, where=lora.name, cure="Look at the names in the file.")
    for key in lora.adapters:
        if text and part_of(key, family) != UNET:
            gone[key] = "text"
        elif block_of_key(key, family) in named:
            gone[key] = "blocks"
        elif any(one in key for one in modules):
            gone[key] = "modules"
        elif zero and changes_nothing(lora.adapters[key]):
            gone[key] = "zero"
    return gone


def changes_nothing(adapter: Adapter) -> bool:
    """Whether a change is 0 for every model; of one that depends on the model's weights nobody knows."""
    return not adapter.needs_weight and squared_norm(adapter) == 0


def by_model(lora: LoraFile, *, each: bool) -> dict[str, list[str]]:
    """Return the modules of the UNet (or transformer), and of the text encoders: together, or ``each`` by itself."""
    found: dict[str, list[str]] = {}
    for key in lora.adapters:
        part = part_of(key, lora.family)
        found.setdefault(part if each or part == UNET else TEXT, []).append(key)
    return found


def by_blocks(lora: LoraFile, groups: str = "") -> dict[str, list[str]]:
    """Return the modules of groups of blocks, those in none as "rest"; without groups by the blocks' letters.

    Args:
        lora: the file.
        groups: separated by commas: ``BASE, IN00-IN05, OUT03-OUT11 M00``.

    Raises:
        InputError: a block is in two groups, is not one of the family, or a group has no module in the file.
    """
    family = lora.family
    if family not in blocked_families():
        what = say("A file of this family has no blocks")
        raise InputError(what, where=lora.name, cure="Split it into text encoders and UNet.")
    names: dict[str, str] = {}
    for group in _groups(groups, family):
        label = group[0] if len(group) == 1 else f"{group[0]}-{group[-1]}"
        twice = [block for block in group if block in names]
        if twice:
            raise InputError("{block} is in two groups", block=twice[0], where=groups, cure="Name every block once.")
        names.update(dict.fromkeys(group, label))
    found: dict[str, list[str]] = dict.fromkeys(dict.fromkeys(names.values()), [])
    for block, keys in lora.blocks().items():
        label = names.get(block, REST) if groups.strip() else _letters(block)
        found[label] = [*found.get(label, []), *keys]
    empty = [label for label, keys in found.items() if not keys]
    if empty:
        raise InputError("The file has no {blocks}", blocks=empty, where=lora.name, cure="Name other blocks.")
    return found


def _groups(text: str, family: str) -> list[tuple[str, ...]]:
    if not text.strip():
        return []
    if family not in blocked_families():
        raise InputError("A file of this family has no blocks", where=text, cure="Leave the blocks out.")
    return parse_block_list(text, full_layout(family))


def _letters(block: str) -> str:
    return block if block in (BASE, OTHER) else block.rstrip("0123456789") or block

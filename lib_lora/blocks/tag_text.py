"""The shortest tag for a LoRA with block weights: by preset name where the numbers are a preset's."""

from __future__ import annotations

from collections.abc import Collection

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.blocks.tag_resolve import format_tag
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import AtelierError


def short_tag(
    name: str, weights: BlockWeights, presets: PresetFile, family: str, *, blocks: Collection[str], preset: str = ""
) -> str:
    """Return a tag of strength 1: bare where every block of the file is 1, with ``preset`` where that means the same.

    Args:
        name: the LoRA's.
        weights: in any layout of the family.
        presets: where ``preset`` is looked up.
        family: of the file.
        blocks: those that the file has modules in; the weights of others do not matter.
        preset: the name that was chosen last.

    Raises:
        InputError: the LoRA's name cannot stand in a tag.
    """
    table = fit(weights, family).as_dict()
    mine = {block: table[block] for block in blocks if block in table}
    if all(value == 1 for value in mine.values()):
        return format_tag(ResolvedTag(name))
    if preset:
        try:
            named = presets.resolve(preset, family).as_dict()
        except AtelierError:  # another family's, random marks, or gone meanwhile: then the numbers are written out
            named = {}
        if all(named.get(block) == value for block, value in mine.items()):
            return f"{format_tag(ResolvedTag(name))[:-1]}:{preset}>"
    return format_tag(ResolvedTag(name, weights=weights))

"""LoRAs of a prompt that cannot act in it, though their tags are right."""

from __future__ import annotations

from collections.abc import Iterable

from lib_lora.blocks.layouts import BASE
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.formats.keys import block_of_key


def idle_notes(tag: ResolvedTag, keys: Iterable[str], family: str, steps: int | None) -> list[str]:
    """Return what is to be said of a LoRA, or of its UNet part, that cannot act; nothing where it does.

    Strength 0 and weights that are all 0 are wishes, and so is a tag that waits for the analyzer's vector.

    Args:
        tag: in numbers.
        keys: of the file's modules that fit the model.
        family: of the model.
        steps: of the picture; None where they are not known yet.
    """
    notes: list[str] = []
    if tag.sweep or tag.sweeps_elements:
        return notes
    places = [(block_of_key(key, family), key) for key in keys]
    on = {block for block, key in places if tag.multiplier(block, key, family)}
    if not on:
        if places and any(tag.multipliers(family).values()):
            notes.append("It does not act: its file has none of the blocks that its weights leave on.")
        return notes
    if on == {BASE} or steps is None or any(tag.active(step, steps) for step in range(steps)):
        return notes
    late = tag.start is not None and tag.start.index(steps) >= steps
    if BASE in on and late:
        notes.append(f"Its text encoder part alone acts: its steps begin after the last of {steps}.")
    elif BASE in on:
        notes.append(f"Its text encoder part alone acts: its steps end before they begin, of {steps}.")
    elif late:
        notes.append(f"It does not act: its steps begin after the last of {steps}.")
    else:
        notes.append(f"It does not act: its steps end before they begin, of {steps}.")
    return notes

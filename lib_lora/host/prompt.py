"""A prompt taken apart: the text for the encoder, and every LoRA with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora.blocks.elements import ElementFile
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import find_tags, parse_tag, resolve, strip_tags
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError
from lib_lora.live.attach import Window
from lib_lora.live.targets import Strength


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt without its tags, the tags in numbers, and remarks for the user."""

    text: str
    tags: tuple[ResolvedTag, ...]
    notes: tuple[str, ...]


def read_prompt(prompt: str, *, presets: PresetFile, family: str, seed: int, swept: bool) -> ReadPrompt:
    """Return ``prompt`` with every LoRA tag resolved.

    Args:
        prompt: as a person typed it.
        presets: what names of block weights mean.
        family: of the loaded model.
        seed: random marks (R, U) are drawn from it, so a picture can be made again.
        swept: whether the analyzer gives tags named XYZ or ZYX their weights.

    Raises:
        TagError: a tag cannot be right; it points at the character.
        InputError: XYZ stands in a prompt outside the analyzer.
    """
    elements = ElementFile.shipped()
    tags = tuple(
        resolve(parse_tag(found.text), presets, family, seed=seed, elements=elements) for found in find_tags(prompt)
    )
    waiting = next((tag for tag in tags if tag.sweep), None)
    if waiting is not None and not swept:
        raise InputError(
            f"{waiting.sweep} stands for the analyzer's changing weights",
            where=waiting.name,
            cure="Use “analyze”, or name a preset or numbers in its place.",
        )
    notes = tuple(f"{tag.name}: {note}" for tag in tags for note in tag.notes)
    return ReadPrompt(strip_tags(prompt), tags, notes)


def multipliers_of(tag: ResolvedTag, family: str, sweep: Sequence[BlockWeights] | None) -> dict[str, Strength]:
    """Return the final number of every block; for a swept tag one number per entry of ``sweep`` ``(n,)``."""
    if tag.sweep is None or sweep is None:
        return dict(tag.multipliers(family))
    vectors = [fit(weights, family) for weights in sweep]
    if tag.sweep == "ZYX":
        vectors = [weights.complement() for weights in vectors]
    tables = [tag.with_weights(weights).multipliers(family) for weights in vectors]
    return {block: _stack([table[block] for table in tables]) for block in tables[0]}


def _stack(values: list[float]) -> Tensor | float:
    """Return equal values as one number, so that blocks which do not change may be folded, else a tensor."""
    return values[0] if len(set(values)) == 1 else torch.tensor(values)


def window_of(tag: ResolvedTag, steps: int) -> Window:
    """Return the steps in which the tag acts, of a run of ``steps``."""
    start = tag.start.index(steps) if tag.start else 0
    return Window(start, tag.stop.index(steps) if tag.stop else None)

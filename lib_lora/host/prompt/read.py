"""A prompt taken apart: the text for the encoder, and every LoRA with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import broken_tags, find_tags, parse_tag, resolve, strip_tags
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.blocks.tag_parse import HIRES
from lib_lora.blocks.typed import without_comments, without_invisible
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import AtelierError
from lib_lora.host.prompt.remarks import tag_remarks, text_remarks
from lib_lora.host.request import GenerateRequest
from lib_lora.live.attach import Window
from lib_lora.live.targets import Strength
from lib_lora.sentences import say


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt without its tags, the negative one, the tags in numbers, remarks, and the tags that cannot be used."""

    text: str
    negative: str
    tags: tuple[ResolvedTag, ...]
    notes: tuple[str, ...]
    problems: tuple[AtelierError, ...] = ()


def read_prompt(
    prompt: str,
    negative: str = "",
    *,
    presets: PresetFile,
    family: str,
    seed: int,
    swept: bool = False,
    check: Callable[[str], AtelierError | None] = lambda text: None,
) -> ReadPrompt:
    """Return ``prompt`` with every LoRA tag resolved; one that cannot be right is a problem and harms no other.

    Args:
        prompt: as a person typed it.
        negative: likewise; a LoRA tag in it is text, as in the WebUI.
        presets: what names of block weights mean.
        family: of the loaded model.
        seed: random marks (R, U) are drawn from it, so a picture can be made again.
        swept: whether the analyzer gives tags named XYZ or ZYX their weights.
        check: returns what the host knows to be wrong with a tag's text, before the tag is read.
    """
    tags: list[ResolvedTag] = []
    problems: list[AtelierError] = list(broken_tags(prompt))
    for found in find_tags(prompt):
        known = check(found.text)
        if known is not None:
            problems.append(known)
            continue
        try:
            tags.append(resolve(parse_tag(found.text), presets, family, seed=seed))
        except AtelierError as error:
            problems.append(error)
    # In a sweep the analyzer brings the vector: that it stands for one is no news.
    notes: list[str] = [
        say("{name}: {said}", name=tag.name, said=note)
        for tag in tags
        if not (swept and tag.sweep)
        for note in tag.notes
    ]
    unused = say("There is no hires pass here: {names} do nothing.", names=[f"{name}=" for name in HIRES])
    notes += [say("{name}: {said}", name=tag.name, said=unused) for tag in tags if tag.hires]
    notes += [*tag_remarks(prompt, negative), *text_remarks(prompt, negative)]
    words = without_invisible(strip_tags(without_comments(prompt), others=True))
    return ReadPrompt(words, _plain(negative), tuple(tags), tuple(dict.fromkeys(notes)), tuple(problems))


def _plain(text: str) -> str:
    return without_invisible(without_comments(text))


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


def check_usable(request: GenerateRequest, usable: Iterable[ResolvedTag], problems: Sequence[AtelierError]) -> None:
    """Refuse an order with a tag that cannot be used, where it is strict or its sweep would change nothing.

    Raises:
        AtelierError: what is wrong with the first such tag.
    """
    if problems and (request.strict or (request.sweep and not any(tag.sweep for tag in usable))):
        raise problems[0]


def window_of(tag: ResolvedTag, steps: int) -> Window:
    """Return the steps in which the tag acts, of a run of ``steps``."""
    start = tag.start.index(steps) if tag.start else 0
    weight = None if tag.frames is None else partial(tag.frames.at, total=steps)
    return Window(start, tag.stop.index(steps) if tag.stop else None, weight)

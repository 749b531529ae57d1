"""The WebUI's prompt editing: which text stands in a prompt at which step, and the parts that ``AND`` puts together."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib_lora.host.prompt.editing import read_editing

_AND = re.compile(r"\bAND\b")
_FACTOR = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*\Z")


@dataclass(frozen=True)
class Moment:
    """A text and the last of the denoiser's calls, counted from 0, that has it."""

    last: int
    text: str


@dataclass(frozen=True)
class Part:
    """One of the prompts between which stands ``AND``, and how much it counts."""

    text: str
    weight: float = 1.0


def parts_of(prompt: str) -> tuple[Part, ...]:
    """Return the prompts that ``AND`` puts together; ``:1.2`` at the end of one is its weight, of a single one too."""
    parts = []
    for text in _AND.split(prompt):
        factor = _FACTOR.search(text)
        parts.append(Part(text[: factor.start()], float(factor[1])) if factor else Part(text.rstrip()))
    return tuple(parts)


@functools.lru_cache(maxsize=256)
def schedule_of(text: str, calls: int) -> tuple[Moment, ...]:
    """Return the texts of a prompt in order.

    ``[a:b:5]`` changes behind the denoiser's call number 5 (its sixth), ``[a:b:0.5]`` behind that share of all calls,
    ``[a|b]`` changes at every call: all as the WebUI counts, so that a prompt's picture is the same here.

    Args:
        text: one part of a prompt, without LoRA tags.
        calls: how often the denoiser is called: the steps, twice that for a second-order sampler.
    """
    read = read_editing(text)
    turns = {turn for edit in read.edits if (turn := edit.turn(calls)) >= 1}
    turns.update(range(1, calls + 1) if read.swaps else ())
    return tuple(Moment(turn, read.at(turn, calls)) for turn in sorted({calls, *turns}))


def text_at(moments: Sequence[Moment], call: int) -> int:
    """Return the place in ``moments`` of the text that the denoiser's call number ``call`` has."""
    return next((index for index, moment in enumerate(moments) if call <= moment.last), 0)

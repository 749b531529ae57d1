"""The WebUI's prompt editing: which text stands in a prompt at which step, and the parts that ``AND`` puts together."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_AND = re.compile(r"\bAND\b")
_FACTOR = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*\Z")

_GRAMMAR = r"""
    !start: (text | LONELY+)*
    text: (bracketed | edit | swap | words | GAP)*
    !bracketed: "(" text ")" | "(" text ":" text ")" | "[" text "]"
    edit: "[" [text ":"] text ":" [GAP] SIGNED_NUMBER [GAP] "]"
    swap: "[" text ("|" [text])+ "]"
    words: /([^\\\[\]():|]|\\.)+/
    GAP: /\s+/
    LONELY: /[][():]/
    %import common.SIGNED_NUMBER
"""
"""What is scheduled in a prompt. Everything else comes through unchanged, emphasis and brackets without partner too."""


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
    tree = _tree(text)
    if tree is None:
        return (Moment(calls, text),)
    turns = sorted({calls, *(turn for turn in _turns(tree, calls) if turn <= calls)})
    return tuple(Moment(turn, "".join(_at(tree, turn, calls))) for turn in turns)


def text_at(moments: Sequence[Moment], call: int) -> int:
    """Return the place in ``moments`` of the text that the denoiser's call number ``call`` has."""
    return next((index for index, moment in enumerate(moments) if call <= moment.last), 0)


def _tree(text: str) -> Any:
    """Return the parsed text, None where nothing in it can be scheduled."""
    if "[" not in text:  # most prompts: parsing a long one takes a while
        return None
    import lark

    try:
        return _parser().parse(text)
    except lark.exceptions.LarkError:  # a lone backslash at the end
        return None


@functools.cache
def _parser() -> Any:
    import lark

    return lark.Lark(_GRAMMAR)


def _turns(node: Any, calls: int) -> Iterator[int]:
    """Yield the calls behind which a text may change."""
    if isinstance(node, str) or node is None:
        return
    if node.data == "edit":
        turn = _turn(node, calls)
        if turn >= 1:
            yield turn
    elif node.data == "swap":
        yield from range(1, calls + 1)
    for child in node.children:
        yield from _turns(child, calls)


def _turn(edit: Any, calls: int) -> int:
    """Return the call behind which an edit takes place: a number with a point is a share of all."""
    written = str(edit.children[-2])
    value = float(written) * (calls if "." in written else 1)
    return min(calls, int(value)) if math.isfinite(value) else calls


def _at(node: Any, call: int, calls: int) -> Iterator[str]:
    """Yield the words of a tree at a call."""
    if node is None:
        return
    if isinstance(node, str):
        yield str(node)
    elif node.data == "edit":
        before, after = node.children[:2]
        yield from _at(before if call <= _turn(node, calls) else after, call, calls)
    elif node.data == "swap":
        yield from _at(node.children[(call - 1) % len(node.children)], call, calls)
    else:
        for child in node.children:
            yield from _at(child, call, calls)

"""Lists of blocks as people write them: `IN01, IN04 IN05, IN08-OUT03, NOT BASE`, or `17ALL`."""

from __future__ import annotations

import re

from lib_lora.blocks.errors import PositionError
from lib_lora.blocks.layouts import OTHER, Layout, block_in, layout_of
from lib_lora.blocks.typed import half_width
from lib_lora.errors import InputError
from lib_lora.sentences import say

_PART = re.compile(r"([^\s\-]+)(?:\s*-\s*([^\s\-]+))?")
_SHORTCUT = re.compile(r"\s*(\d{1,3})ALL\s*", re.IGNORECASE)


def parse_block_list(text: str, layout: Layout) -> list[tuple[str, ...]]:
    """Read a comma-separated list of block groups; each group is examined or changed together.

    A group is one block, `A B` (several), `A-B` (a range of the layout, in either direction) or any of these after
    `NOT` (every other block of the layout). A vector's length with ALL, such as `17ALL`, as the whole text means every
    block of that layout, one by one. An empty text is an empty list, and a comma at the end adds no entry. `other` may
    be named, but is in no range or NOT. Full-width signs are read as half-width ones.

    Raises:
        PositionError: pointing at the first entry that cannot be read.
    """
    text = half_width(text).rstrip(" ,")
    shortcut = _SHORTCUT.fullmatch(text)
    if shortcut:
        return _shortcut(text, int(shortcut[1]), layout)
    if not text.strip():
        return []
    groups: list[tuple[str, ...]] = []
    position = 0
    for entry in text.split(","):
        groups.append(parse_blocks(text, layout, start=position, end=position + len(entry)))
        position += len(entry) + 1
    return groups


def parse_blocks(text: str, layout: Layout, *, start: int = 0, end: int | None = None) -> tuple[str, ...]:
    """Read one group of blocks, `text[start:end]`, and return its names in the layout's order.

    Raises:
        PositionError: pointing into `text`.
    """
    text, end = half_width(text), len(text) if end is None else end
    named: set[str] = set()
    negated = False
    position, count = start, 0
    while position < end:
        if text[position].isspace():
            position += 1
            continue
        part = _PART.match(text, position, end)
        if part is None:
            raise PositionError(
                "A range needs a block on both sides", text=text, position=position, cure="Write A-B, like IN05-OUT05."
            )
        if count == 0 and not negated and part[2] is None and part[1].upper() == "NOT":
            negated = True
        else:
            named.update(_part_names(part, text, layout))
            count += 1
        position = part.end()
    if count == 0:
        what = say("NOT stands alone") if negated else say("An entry is empty")
        raise PositionError(what, text=text, position=start, cure="Name at least one block.")
    if negated:
        names = tuple(name for name in layout.names if name not in named)
    else:
        names = tuple(name for name in (*layout.names, OTHER) if name in named)
    if not names:
        raise PositionError("NOT leaves no block over", text=text, position=start, cure="Name fewer blocks.")
    return names


def _part_names(part: re.Match[str], text: str, layout: Layout) -> tuple[str, ...]:
    first = _name(part, 1, text, layout)
    if part[2] is None:
        return (first,)
    last = _name(part, 2, text, layout)
    if OTHER in (first, last):
        raise PositionError(
            "“other” cannot be the end of a range", text=text, position=part.start(), cure="Write other alone."
        )
    low, high = sorted((layout.names.index(first), layout.names.index(last)))
    return layout.names[low : high + 1]


def _name(part: re.Match[str], group: int, text: str, layout: Layout) -> str:
    if part[group].casefold() == OTHER:
        return OTHER
    try:
        return block_in(layout, part[group])
    except InputError as error:
        raise PositionError(error.what, text=text, position=part.start(group), cure=error.cure) from error


def _shortcut(text: str, length: int, layout: Layout) -> list[tuple[str, ...]]:
    try:
        wanted = layout_of(length, layout.family)
    except InputError as error:
        raise PositionError(error.what, text=text, position=0, cure="Use {n}ALL instead.", n=layout.length) from error
    absent = [name for name in wanted.names if name not in layout.names]
    if absent:
        raise PositionError(
            "This model has no {blocks}",
            blocks=absent,
            text=text,
            position=0,
            cure="Use {n}ALL instead.",
            n=layout.length,
        )
    return [(name,) for name in wanted.names]

"""Prompts in which signs without partner stand behind edits: which reading the WebUI's own parser chooses."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable, Iterator
from typing import Any

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
MOST = 32
"""Signs of a text that is given to the parser, which needs a third of a second for so many and minutes for hundreds."""
_SIGN = re.compile(r"[][():|]")


def resolved(text: str, edit: Callable[..., Any], swap: Callable[..., Any]) -> list[Any] | None:
    """Return the items of a text as the WebUI's parser has them; None where it is missing or would take long.

    Args:
        text: one part of a prompt.
        edit: makes an edit of its two texts and its number.
        swap: makes a swap of its texts.
    """
    if len(_SIGN.findall(text)) > MOST or importlib.util.find_spec("lark") is None:
        return None
    import lark

    def items(node: Any) -> Iterator[Any]:
        if node is None:
            return
        if isinstance(node, str):
            yield str(node)
        elif node.data == "edit":
            before, after = (tuple(items(child)) for child in node.children[:2])
            yield edit(before, after, str(node.children[-2]))
        elif node.data == "swap":
            yield swap(tuple(tuple(items(child)) for child in node.children))
        else:
            for child in node.children:
                yield from items(child)

    try:
        return list(items(_parser().parse(text)))
    except lark.exceptions.LarkError:
        return None


@functools.cache
def _parser() -> Any:
    import lark

    return lark.Lark(_GRAMMAR)

"""Values that the server computed, taken by the page only where nobody touched the widget meanwhile.

An answer that nobody asked for may come while somebody types. The server tells for each widget its new value and what
it showed when the question was put; the page compares and takes. What somebody typed stands.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

from lib_lora.ui import compat
from lib_lora.ui.compat import gr

TAKE = """(told, ...now) => {
    const news = told ? JSON.parse(told) : [];
    const same = (value, before) => JSON.stringify(value ?? null) === JSON.stringify(before);
    const taken = (value, pair) => (pair && same(value, pair[1]) ? pair[0] : { __type__: "update" });
    return now.slice(0, COUNT).map((value, n) => taken(value, news[n]));
}"""
"""Gradio 3 gives a script the values of its outputs, too, behind those of its inputs: hence the count."""
_TOLD = itertools.count(1)


def told_box(name: str) -> gr.Textbox:
    """Return the hidden box into which the server tells; ``name`` is its label."""
    return gr.Textbox("", visible=compat.HIDDEN, label=name)


def told(news: Sequence[tuple[Any, Any] | None]) -> str:
    """Return what the server tells: for each widget its new value and what it showed, None where it stays.

    The number at the end makes the same told twice two changes of the box.
    """
    return json.dumps([*news, next(_TOLD)])


def take_untouched(event: Callable[..., Any], box: gr.Textbox, components: Sequence[Any]) -> Any:
    """Let the page take what was told at an event: the box' ``change``, or the ``then`` of what filled it."""
    take, light = TAKE.replace("COUNT", str(len(components))), {"queue": False, **compat.event_kw()}
    return event(None, [box, *components], list(components), **compat.js_kw(take), **light)

"""Widgets that keep their value between visits: the server's `Settings` hold it, not the browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from lib_lora.services.atelier import Atelier
from lib_lora.ui import compat
from lib_lora.ui.compat import gr

Check = Callable[[Any], bool]

_watched: WeakKeyDictionary[gr.Blocks, list[tuple[Any, str, Check]]] = WeakKeyDictionary()
"""The remembered widgets of each page that is being built."""


def remember(atelier: Atelier, component: Any, key: str, *, good: Check = lambda value: True) -> None:
    """Remember a widget's value under ``key`` (``panel.thing``), in every language and after a restart.

    Args:
        atelier: whose settings.
        component: a widget whose value JSON can hold; called while its page is being built.
        key: ``panel.thing``, the same in both languages.
        good: whether a remembered value still makes sense (a choice that is gone does not).
    """
    settings = atelier.settings

    def keep(value: Any) -> None:
        settings.put(key, value)

    component.change(keep, component, None, queue=False, **compat.event_kw())
    _watched.setdefault(compat.page_being_built(), []).append((component, key, good))


KEEP_TYPED = """(told, ...now) => {
    const found = told ? JSON.parse(told) : [];
    return BEGUN.map((begun, n) =>
        found[n]?.length && JSON.stringify(now[n]) === JSON.stringify(begun) ? found[n][0] : { __type__: "update" });
}"""
"""Gives each widget what was remembered where it still shows what it began with."""


def restore_when_opened(atelier: Atelier, page: gr.Blocks) -> Any:
    """Let a page take the remembered values each time it is opened; called once, when its widgets are built.

    The server tells the values and the page takes them: what somebody typed or moved while they came is kept.

    Returns:
        The hidden box into which they are told, None where nothing is remembered.
    """
    watched = _watched.pop(page, [])
    if not watched:
        return None
    box = gr.Textbox("", visible=compat.HIDDEN, label="remembered")
    missing = object()

    def remembered(key: str, good: Check) -> list[Any]:
        value = atelier.settings.get(key, missing)
        return [value] if value is not missing and good(value) else []

    def tell() -> str:
        return json.dumps([remembered(key, good) for _, key, good in watched])

    components = [component for component, _, _ in watched]
    take = KEEP_TYPED.replace("BEGUN", json.dumps([component.value for component in components]))
    light = {"queue": False, **compat.event_kw()}
    page.load(tell, None, box, **light).then(None, [box, *components], components, **compat.js_kw(take), **light)
    return box

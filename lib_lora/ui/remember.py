"""Widgets that keep their value between visits: the server's `Settings` hold it, not the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from lib_lora.services.atelier import Atelier
from lib_lora.ui import compat
from lib_lora.ui.compat import gr
from lib_lora.ui.untouched import take_untouched, told, told_box

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


def restore_when_opened(atelier: Atelier, page: gr.Blocks) -> Any:
    """Let a page take the remembered values each time it is opened; called once, when its widgets are built.

    The server tells the values and the page takes them: what somebody typed or moved while they came is kept.

    Returns:
        The hidden box into which they are told, None where nothing is remembered.
    """
    watched = _watched.pop(page, [])
    if not watched:
        return None
    box = told_box("remembered")
    missing = object()

    def remembered(component: Any, key: str, good: Check) -> tuple[Any, Any] | None:
        value = atelier.settings.get(key, missing)
        return (value, component.value) if value is not missing and good(value) else None

    def tell() -> str:
        return told([remembered(*each) for each in watched])

    opened = page.load(tell, None, box, queue=False, **compat.event_kw())
    take_untouched(opened.then, box, [component for component, _, _ in watched])
    return box

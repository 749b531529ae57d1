"""What the panels remember between visits: one small JSON file in the data folder, in the server, not the browser."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.atomic import replace_file
from lib_lora.errors import AtelierError
from lib_lora.ui import compat
from lib_lora.ui.compat import gr

if TYPE_CHECKING:
    from lib_lora.ui.context import Atelier

logger = logging.getLogger(__name__)

DELAY = 0.5
"""Seconds that a change waits for the next one before the file is written."""

Check = Callable[[Any], bool]


class Settings:
    """Values by key. Reading never waits for the disk; what cannot be read is forgotten, not fatal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values: dict[str, Any] = self._read()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._pages: dict[int, list[tuple[Any, str, Check]]] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """Return a remembered value, or ``default``."""
        return self._values.get(key, default)

    def put(self, key: str, value: Any) -> None:
        """Remember a value that JSON can hold; the file follows half a second after the last change."""
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            logger.warning("the setting %s cannot be remembered: %r", key, type(value))
            return
        with self._lock:
            if self._values.get(key) == value and key in self._values:
                return
            self._values[key] = value
            if self._timer is None:
                self._timer = threading.Timer(DELAY, self.save)
                self._timer.daemon = True
                self._timer.start()

    def save(self) -> None:
        """Write the file now; a disk that refuses is said in the log, because no work depends on it."""
        with self._lock:
            self._timer = None
            data = json.dumps(self._values, ensure_ascii=False, indent=1, sort_keys=True).encode()
        try:
            replace_file(self.path, data, what="The settings", private=True)
        except AtelierError as error:
            logger.warning("%s", error)

    def close(self) -> None:
        """Write what is still waiting to be written."""
        timer = self._timer
        if timer is not None:
            timer.cancel()
            self.save()

    def watch(self, component: Any, key: str, good: Check) -> None:
        """Note a widget of the page that is being built; see `remember`."""
        self._pages.setdefault(id(compat.page_being_built()), []).append((component, key, good))

    def restore_when_opened(self, page: gr.Blocks) -> None:
        """Let the page take the remembered values each time it is opened; called once, when its widgets are built."""
        watched = self._pages.pop(id(page), [])
        if not watched:
            return

        def restore() -> Any:
            found = [self._update(key, good) for _, key, good in watched]
            return found if len(found) > 1 else found[0]

        page.load(restore, None, [component for component, _, _ in watched], **compat.event_kw())

    def _update(self, key: str, good: Check) -> Any:
        if key not in self._values or not good(self._values[key]):
            return compat.update()
        return compat.update(value=self._values[key])

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read and is begun anew: %s", self.path, error)
            return {}
        return values if isinstance(values, dict) else {}


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
    settings.watch(component, key, good)

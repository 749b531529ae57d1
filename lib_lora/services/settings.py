"""What the panels remember between visits: one small JSON file in the data folder, in the server, not the browser."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from lib_lora.atomic import replace_file
from lib_lora.errors import AtelierError
from lib_lora.sentences import say

logger = logging.getLogger(__name__)

DELAY = 0.5
"""Seconds that a change waits for the next one before the file is written."""


class Settings:
    """Values by key. Reading never waits for the disk; what cannot be read is forgotten, not fatal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values: dict[str, Any] = self._read()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

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
            replace_file(self.path, data, what=say("The settings"), private=True)
        except AtelierError as error:
            logger.warning("%s", error)

    def close(self) -> None:
        """Write what is still waiting to be written."""
        timer = self._timer
        if timer is not None:
            timer.cancel()
            self.save()

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read and is begun anew: %s", self.path, error)
            return {}
        return values if isinstance(values, dict) else {}

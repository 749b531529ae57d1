"""What was measured on this machine, kept in small JSON files, so that a plan can say how long it will take."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.atomic import replace_file
from lib_lora.sentences import say

_NEW = 0.5
"""Weight of the newest measurement against all before it."""

_lock = threading.RLock()
"""Of all such files: they are read and written in a moment, by jobs and runs of one process."""


@dataclass(frozen=True)
class Measured:
    """Measurements by name; those of a file that is lost or broken are measured again."""

    path: Path

    def read(self) -> dict[str, Any]:
        """Return what is known; empty where there is no such file, or one that holds something else."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Yield what is known and write what becomes of it; nobody else changes it meanwhile.

        Raises:
            FileError: the disk refuses; OSError: the folder cannot be made.
        """
        with _lock:
            table = self.read()
            yield table
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, json.dumps(table, indent=1).encode(), what=say("The measured speed"))

    def note(self, name: str, now: float) -> None:
        """Let a new measurement count half against all before it.

        Raises:
            FileError: the disk refuses; OSError: the folder cannot be made.
        """
        with self.changing() as table:
            before = number(table.get(name)) or now
            table[name] = before + _NEW * (now - before)


def number(value: object) -> float | None:
    """Return a measurement as it stands in a file; None for what cannot be one."""
    return float(value) if isinstance(value, int | float) and value > 0 else None

"""Logs of runs, read as they grow: a page that looks every second reads only what is new."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

_NUMBERS = ("step", "loss", "mean")


@dataclass
class _Known:
    """What was read of one log: up to which byte, and its (step, loss, mean) rows."""

    offset: int = 0
    rows: list[tuple[int, float, float]] = field(default_factory=list)


class RunLogs:
    """The rows of any number of logs."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}
        self._lock = threading.Lock()

    def rows(self, run: Path) -> list[tuple[int, float, float]]:
        """Return (step, loss, running mean) of every step of the run in a folder."""
        path = run / "log.jsonl"
        with self._lock:
            known = self._known.setdefault(path, _Known())
            size = path.stat().st_size if path.exists() else 0
            if size < known.offset:  # rewound by a resume
                known = self._known[path] = _Known()
            if size > known.offset:
                self._read(path, known)
            return list(known.rows)

    @staticmethod
    def _read(path: Path, known: _Known) -> None:
        with open(path, "rb") as file:
            file.seek(known.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # the last line may be half written
        known.offset += len(whole)
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # a line that a crash cut in two
            if not isinstance(row, dict) or not all(isinstance(row.get(key), int | float) for key in _NUMBERS):
                continue  # a step that was left out, or a row that a disk damaged
            while known.rows and known.rows[-1][0] >= row["step"]:
                known.rows.pop()
            known.rows.append(tuple(row[key] for key in _NUMBERS))

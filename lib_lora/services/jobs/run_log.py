"""Logs of runs, read as they grow: a page that looks every second reads only what is new."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora.sentences import say


@dataclass
class _Known:
    """What was read of one log: which file, up to which byte, its (step, loss, mean) rows, and how many were none."""

    file: int = 0
    offset: int = 0
    rows: list[tuple[int, float, float]] = field(default_factory=list)
    damaged: int = 0


class RunLogs:
    """The rows of any number of logs."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}
        self._lock = threading.Lock()

    def rows(self, run: Path) -> list[tuple[int, float, float]]:
        """Return (step, loss, running mean) of every step of the run in a folder."""
        with self._lock:
            return list(self._read(run / "log.jsonl").rows)

    def remarks(self, run: Path) -> tuple[str, ...]:
        """Return what a person should know of the log of the run in a folder."""
        with self._lock:
            return damaged_rows(self._read(run / "log.jsonl").damaged)

    def _read(self, path: Path) -> _Known:
        """Return what is known of a log, with what was written since the last look."""
        known = self._known.setdefault(path, _Known())
        try:
            there = path.stat()
        except OSError:
            return known
        if there.st_ino != known.file or there.st_size < known.offset:  # another file: rewound by a resume
            known = self._known[path] = _Known(there.st_ino)
        if there.st_size > known.offset:
            with open(path, "rb") as file:
                file.seek(known.offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]  # the last line may be half written
            known.offset += len(whole)
            for line in whole.splitlines():
                _take(line, known)
        return known


def damaged_rows(count: int) -> tuple[str, ...]:
    """Return the remark on rows of a log that a crash or a disk damaged; nothing where there are none."""
    if not count:
        return ()
    return (say("rows of the log that were damaged and left out: {n}", n=count),)


def _take(line: bytes, known: _Known) -> None:
    """Add one row of a log; one whose loss is no number is of a step that was left out."""
    try:
        row = json.loads(line)
        step, loss, mean = (row[key] for key in ("step", "loss", "mean"))
    except (ValueError, TypeError, KeyError, RecursionError):
        known.damaged += 1
        return
    if not isinstance(step, int) or step < 0 or not all(isinstance(one, float | int | None) for one in (loss, mean)):
        known.damaged += 1
    elif loss is not None and mean is not None:
        while known.rows and known.rows[-1][0] >= step:
            known.rows.pop()
        known.rows.append((step, loss, mean))

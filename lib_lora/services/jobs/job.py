"""A piece of long work: its progress, the wish to stop it, its result or its error."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.progress import Progress

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"
_numbers = itertools.count(1)


class Job(Progress):
    """One order in the job queue. Any thread may read it; only the worker's thread changes its state.

    Attributes:
        number: counts up over the life of the program.
        kind: what it is: ``generate``, ``analyze``, ``train``, ``bake`` …
        title: what a person calls it: a run's name, a file's name.
        about: the run or the LoRA that it makes something of; empty for other work.
        state: ``waiting``, ``running``, ``done``, ``stopped`` (by a person) or ``failed``.
        done, total, text: the newest `update`.
        partial: what the work shows before it is finished; set by `show`.
        result: what the work returned.
        error: why it failed.
        version: grows with every change, so that a page asks only for what is new.
    """

    def __init__(self, kind: str, title: str, work: Callable[[Job], Any], *, about: str = "") -> None:
        self.number = next(_numbers)
        self.kind, self.title, self.work, self.about = kind, title, work, about
        self.state, self.done, self.total, self.text = WAITING, 0, 0, ""
        self.partial: Any = None
        self.result: Any = None
        self.error: AtelierError | None = None
        self.version = 0
        self._began = self._first = 0.0
        self._first_done = 0
        self._stop = threading.Event()
        self._change = threading.Condition()

    # -- for the work -------------------------------------------------------------------------------------------

    def update(self, done: int, total: int, text: str = "") -> None:
        """Say that ``done`` of ``total`` steps are over; a new ``total`` starts a new estimate of the time left."""
        now = time.monotonic()
        if total != self.total or done < self.done:
            self._first, self._first_done = now, done
        self.done, self.total, self.text = done, total, text
        self._changed()

    def show(self, partial: Any) -> None:
        """Put something before the onlookers while the work goes on: pictures so far, a grid so far."""
        self.partial = partial
        self._changed()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop; the work looks at it at every step."""
        return self._stop.is_set()

    # -- for whoever ordered it ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the work to stop at its next step; a waiting job is never started."""
        self._stop.set()
        self._changed()

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in (DONE, STOPPED, FAILED)

    @property
    def seconds_left(self) -> float | None:
        """Return the estimated rest of the present piece of work in seconds; None while nothing is known."""
        steps = self.done - self._first_done
        if self.state != RUNNING or steps < 1 or self.total <= 0:
            return None
        return (time.monotonic() - self._first) / steps * max(0, self.total - self.done)

    @property
    def seconds(self) -> float:
        """Seconds since it was begun; 0 while it waits."""
        return time.monotonic() - self._began if self._began else 0.0

    def wait(self, timeout: float | None = None, *, newer_than: int | None = None) -> bool:
        """Return when the job has ended, or has changed since version ``newer_than``; False where time ran out."""
        with self._change:
            return self._change.wait_for(
                lambda: self.ended or (newer_than is not None and self.version > newer_than), timeout
            )

    # -- for the job queue -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Mark it as running."""
        self._began = self._first = time.monotonic()
        self.state = RUNNING
        self._changed()

    def end(self, state: str, *, result: Any = None, error: AtelierError | None = None) -> None:
        """Mark how it ended."""
        self.result, self.error, self.state = result, error, state
        self._changed()

    def _changed(self) -> None:
        with self._change:
            self.version += 1
            self._change.notify_all()

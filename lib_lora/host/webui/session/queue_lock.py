"""The host's queue lock: whoever uses its model holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lib_lora.host.webui.protocols import FifoLock
from lib_lora.host.webui.session import progress

_GIVEN_WAY = 0.5
"""Seconds that we wait, after giving the lock back, for whoever waited for it to take it."""


class QueueLock:
    """The host's queue lock, taken once by a thread however deep its work is nested.

    The host's lock is fair but not re-entrant: a training holds it while it has sample pictures made, and those must
    not ask for it again. One for the whole process.
    """

    def __init__(self) -> None:
        self._owner: int | None = None

    @property
    def held(self) -> bool:
        """Whether this thread has the lock."""
        return self._owner == threading.get_ident()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the host: a person's picture, a checkpoint to be loaded."""
        return bool(getattr(_lock(), "_pending_threads", ()))

    @contextmanager
    def taken(self, job: str) -> Iterator[None]:
        """Hold the lock while the context lasts; ``job`` is what the host's progress shows.

        Where this thread has it already nothing is locked, and the host's progress stands afterwards where it stood.
        """
        if self.held:
            with progress.kept():
                yield
            return
        lock = _lock()
        lock.acquire()
        self._owner = threading.get_ident()
        try:
            with progress.host_job(job):
                yield
        finally:
            self._owner = None
            _give_way(lock)


def _lock() -> FifoLock:
    from modules import call_queue

    return call_queue.queue_lock


def _give_way(lock: FifoLock) -> None:
    """Release the lock, and stay away until whoever was woken has it.

    The host's lock wakes the first of its queue and is free until that thread runs; a thread that asks again at once
    would overtake it every time.
    """
    waiting = bool(getattr(lock, "_pending_threads", ()))
    lock.release()
    inner = getattr(lock, "_lock", None)
    if not waiting or inner is None:
        return
    until = time.monotonic() + _GIVEN_WAY
    while not inner.locked() and time.monotonic() < until:
        time.sleep(0.002)

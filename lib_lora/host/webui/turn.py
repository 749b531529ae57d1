"""Our turn at the host's model: its queue lock, its state for the progress bar, its Interrupt."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TASK = "task(lora-atelier)"
"""The host's name of our task: a page that asks the host for the progress of this task gets ours."""

_KEPT = ("job", "job_no", "job_count", "sampling_step", "sampling_steps", "textinfo", "current_latent", "time_start")
_GIVEN_WAY = 0.5
"""Seconds that we wait, after giving the lock back, for whoever waited for it to take it."""


class Turn:
    """The host's queue lock, taken once by a thread however deep its work is nested.

    The host's lock is fair but not re-entrant: a training holds it while it has sample pictures made, and those must
    not ask for it again. One for the whole process.
    """

    def __init__(self) -> None:
        self._owner: int | None = None

    @property
    def held(self) -> bool:
        """Whether this thread has the turn."""
        return self._owner == threading.get_ident()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the host: a person's picture, a checkpoint to be loaded."""
        return bool(getattr(_lock(), "_pending_threads", ()))

    @property
    def interrupted(self) -> bool:
        """Whether somebody pressed the host's Interrupt or Stop since the turn began."""
        state = _state()
        return bool(state.interrupted or getattr(state, "stopping_generation", False))

    @contextmanager
    def taken(self, job: str) -> Iterator[None]:
        """Hold the turn while the context lasts; ``job`` is what the host's progress shows.

        Inside a turn of the same thread nothing is locked, and the host's progress stands afterwards where it stood.
        """
        if self.held:
            with _state_kept():
                yield
            return
        lock = _lock()
        lock.acquire()
        self._owner = threading.get_ident()
        try:
            with _host_job(job):
                yield
        finally:
            self._owner = None
            _give_way(lock)

    def show(self, done: int, total: int, text: str = "") -> None:
        """Let the host's progress bar stand at ``done`` of ``total``."""
        state = _state()
        state.job_count, state.job_no = 1, 0
        state.sampling_steps, state.sampling_step = total, done
        state.textinfo = text or None

    def preview(self, image: Any) -> None:
        """Show a picture as the host's live preview."""
        state = _state()
        state.current_latent = None  # else the page's thread would decode it while we compute
        state.assign_current_image(image)


def _lock() -> Any:
    from modules import call_queue

    return call_queue.queue_lock


def _state() -> Any:
    from modules import shared

    return shared.state


@contextmanager
def _host_job(job: str) -> Iterator[None]:
    """Begin and end a job of the host as its own buttons do; flags of an interrupt do not outlive it."""
    from modules import progress

    state = _state()
    state.begin(job=job)
    progress.add_task_to_queue(TASK)
    progress.start_task(TASK)
    try:
        yield
    finally:
        progress.finish_task(TASK)
        state.end()
        state.skipped = state.interrupted = state.stopping_generation = False
        state.current_latent = None


@contextmanager
def _state_kept() -> Iterator[None]:
    """Put the host's progress back after nested work; its interrupt flags stay as they came."""
    state = _state()
    before = {name: getattr(state, name) for name in _KEPT if hasattr(state, name)}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(state, name, value)


def _give_way(lock: Any) -> None:
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

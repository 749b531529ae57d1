"""Carrying the host's progress to whoever ordered the work, and their wish to stop to the host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lib_lora.progress import Progress

POLL = 0.1
"""Seconds between two looks; the host has no callback that every sampler calls on every kind of host."""


@contextmanager
def watched(state: Any, progress: Progress, *, before: int, units: int, total: int) -> Iterator[None]:
    """Tell ``progress`` meanwhile where the host's present picture stands, and interrupt the host where it is stopped.

    Args:
        state: the host's ``shared.state``.
        progress: of the whole order.
        before: units of work done before this call of the host.
        units: units of work in this call.
        total: units of the whole order.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(POLL):
            steps = max(1, state.sampling_steps or 1)
            done = units * min(state.sampling_step or 0, steps) // steps
            progress.update(before + done, total, "sampling")
            if progress.stopped and not state.interrupted:
                state.interrupt()

    state.sampling_step = 0  # of the picture before, until the sampler begins
    thread = threading.Thread(target=look, name="atelier-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

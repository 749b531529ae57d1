"""The host's progress bar, its live preview and its Interrupt: ours stands in them, and theirs is carried to us."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from PIL import Image

from lib_lora.host.webui.protocols import State
from lib_lora.progress import Progress
from lib_lora.sentences import say

TASK = "task(lora-atelier)"
"""The host's name of our task: a page that asks the host for the progress of this task gets ours."""

POLL = 0.1
"""Seconds between two looks; the host has no callback that every sampler calls on every kind of host."""

_running: list[str] = []
"""The job of ours that the host is at."""

_KEPT = ("job", "job_no", "job_count", "sampling_step", "sampling_steps", "textinfo", "current_latent", "time_start")


def show(done: int, total: int, text: str = "") -> None:
    """Let the host's progress bar stand at ``done`` of ``total``."""
    state = _state()
    state.job_count, state.job_no = 1, 0
    state.sampling_steps, state.sampling_step = total, done
    state.textinfo = text or None


def preview(image: Image.Image) -> None:
    """Show a picture as the host's live preview."""
    state = _state()
    state.current_latent = None  # else the page's thread would decode it while we compute
    state.assign_current_image(image)


def interrupted() -> bool:
    """Whether somebody pressed the host's Interrupt or Stop since our job began."""
    state = _state()
    return bool(state.interrupted or getattr(state, "stopping_generation", False))


@contextmanager
def host_job(job: str) -> Iterator[None]:
    """Begin and end a job of the host as its own buttons do; flags of an interrupt do not outlive it."""
    from modules import progress

    state = _state()
    state.begin(job=job)
    progress.add_task_to_queue(TASK)
    progress.start_task(TASK)
    _running.append(job)
    try:
        yield
    finally:
        _running.remove(job)
        progress.finish_task(TASK)
        state.end()
        state.skipped = state.interrupted = state.stopping_generation = False
        state.current_latent = None


def survive_reload() -> None:
    """Let *Reload UI* leave a job of ours alone: the host interrupts whatever it is at, and ours needs no page.

    To be called before the page is built: its button keeps the function that it finds then.
    """
    state = _state()
    own = state.request_restart
    if hasattr(own, "__wrapped__"):
        return

    @wraps(own)
    def request_restart() -> None:
        if _running:
            state.server_command = "restart"
        else:
            own()

    state.request_restart = request_restart  # type: ignore[method-assign]


@contextmanager
def kept() -> Iterator[None]:
    """Put the host's progress back after nested work; its interrupt flags stay as they came."""
    state = _state()
    before = {name: getattr(state, name) for name in _KEPT if hasattr(state, name)}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(state, name, value)


@contextmanager
def watched(state: State, progress: Progress, *, before: int, units: int, total: int) -> Iterator[None]:
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
            progress.update(before + done, total, say("sampling"))
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


def running_order() -> tuple[Any, str]:
    """Return the page that is served (gradio Blocks, or None) and the name of the task that is being rendered."""
    from modules import shared

    return getattr(shared, "demo", None), str(getattr(shared.state, "job", "") or "")


def _state() -> State:
    from modules import shared

    return shared.state

"""The host's queue lock: one, however deep; its progress bar; nobody is overtaken."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from PIL import Image

from lib_lora.host.webui.session import progress
from lib_lora.host.webui.session.progress import TASK
from lib_lora.host.webui.session.queue_lock import QueueLock


def test_the_hosts_lock_is_held_and_gives_it_back(a1111: Any) -> None:
    lock = QueueLock()
    with lock.taken("job"):
        assert lock.held
        assert not a1111.queue_lock.acquire(blocking=False)
        assert a1111.state.job == "job"
    assert not lock.held
    assert a1111.state.job == ""
    assert a1111.queue_lock.acquire(blocking=False)
    a1111.queue_lock.release()
    assert a1111.tasks == [TASK] * 3  # queued, started, finished


def test_a_lock_within_a_lock_waits_for_nothing_and_leaves_the_progress_alone(a1111: Any) -> None:
    lock = QueueLock()
    with lock.taken("training"):
        progress.show(7, 20)
        with lock.taken("sample"):
            a1111.state.job_no, a1111.state.sampling_step = 3, 1
            a1111.state.interrupt()
        assert (a1111.state.job, a1111.state.sampling_step, a1111.state.sampling_steps) == ("training", 7, 20)
        assert (a1111.state.job_no, a1111.state.job_count) == (0, 1)
        assert progress.interrupted()


def test_another_thread_does_not_have_the_lock(a1111: Any) -> None:
    lock, seen = QueueLock(), []
    with lock.taken("job"):
        other = threading.Thread(target=lambda: seen.append(lock.held))
        other.start()
        other.join()
    assert seen == [False]


@pytest.mark.parametrize("button", ["interrupt", "stop_generating"])
def test_the_hosts_buttons_are_heard_and_do_not_outlive_the_job(a1111: Any, button: str) -> None:
    lock = QueueLock()
    with lock.taken("job"):
        assert not progress.interrupted()
        getattr(a1111.state, button)()
        assert progress.interrupted()
    assert not progress.interrupted()


def test_reload_ui_leaves_our_work_alone_and_interrupts_the_hosts_own(a1111: Any) -> None:
    progress.survive_reload()
    progress.survive_reload()  # each new page
    state = a1111.state
    with QueueLock().taken("job"):
        state.request_restart()
        assert (state.server_command, progress.interrupted()) == ("restart", False)
    state.begin(job="a picture of somebody's")
    state.request_restart()
    assert (state.server_command, state.interrupted) == ("restart", True)


def test_an_error_gives_the_lock_back(a1111: Any) -> None:
    lock = QueueLock()
    with pytest.raises(ValueError, match="broken"), lock.taken("job"):
        raise ValueError("broken")
    with lock.taken("again"):
        assert lock.held


def test_whoever_waits_comes_before_the_next_slice(a1111: Any) -> None:
    lock, order = QueueLock(), []
    begun = threading.Event()

    def person() -> None:
        begun.set()
        with a1111.queue_lock:
            order.append("person")

    other = threading.Thread(target=person)
    with lock.taken("slice 1"):
        other.start()
        begun.wait()
        while not lock.wanted:
            pass
        order.append("slice 1")
    with lock.taken("slice 2"):
        order.append("slice 2")
    other.join()
    assert order == ["slice 1", "person", "slice 2"]


def test_a_preview_is_shown_and_no_latent_is_left_to_decode(a1111: Any) -> None:
    lock, picture = QueueLock(), Image.new("RGB", (8, 8))
    with lock.taken("job"):
        a1111.state.current_latent = object()
        progress.preview(picture)
        assert a1111.state.current_image is picture
        assert a1111.state.current_latent is None

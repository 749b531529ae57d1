"""The job queue: one worker for one loaded model; jobs run one after another, in the order they came."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from lib_lora.errors import AtelierError, StoppedError
from lib_lora.sentences import say
from lib_lora.services.jobs.job import DONE, FAILED, STOPPED, Job

logger = logging.getLogger(__name__)

KEPT = 50
"""Ended jobs that are remembered, the newest."""


class JobQueue:
    """Takes orders and works on them in a thread of its own, so that a closed browser tab stops nothing."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._all: deque[Job] = deque()
        self._running: Job | None = None
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, kind: str, title: str, work: Callable[[Job], Any], *, about: str = "") -> Job:
        """Queue ``work``; it is called with its job (a `Progress`) and its return value becomes the job's result."""
        job = Job(kind, title, work, about=about)
        with self._lock:
            self._waiting.append(job)
            self._all.append(job)
            self._forget()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="atelier-jobs", daemon=True)
                self._thread.start()
            self._lock.notify_all()
        return job

    @property
    def running(self) -> Job | None:
        """The job that has the host now."""
        return self._running

    def jobs(self, kind: str | None = None) -> list[Job]:
        """Return the jobs of a kind, or all, oldest first: ended ones that are remembered, running, waiting."""
        with self._lock:
            return [job for job in self._all if kind is None or job.kind == kind]

    def newest(self, kind: str, about: str) -> Job | None:
        """Return the job of a kind that was ordered last about a run or a LoRA; None where there was none."""
        return next((job for job in reversed(self.jobs(kind)) if job.about == about), None)

    def stop(self, kind: str) -> bool:
        """Stop the jobs of a kind that run or wait; return whether there were any."""
        jobs = [job for job in self.jobs(kind) if not job.ended]
        for job in jobs:
            job.stop()
        return bool(jobs)

    def ahead_of(self, job: Job) -> list[Job]:
        """Return what must end before ``job`` can begin; the running job first."""
        with self._lock:
            if job not in self._waiting:
                return []
            before = list(self._waiting)[: self._waiting.index(job)]
            return ([self._running] if self._running else []) + before

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: bool(self._waiting))
                job = self._waiting.popleft()
                self._running = job
            try:
                self._do(job)
            finally:
                self._running = None

    def _do(self, job: Job) -> None:
        if job.stopped:
            job.end(STOPPED)
            return
        job.begin()
        try:
            result = job.work(job)
        except StoppedError:
            job.end(STOPPED)
        except AtelierError as error:
            job.end(FAILED, error=error)
        except Exception as error:  # what nobody foresaw: the page says so in words, the log keeps the trace
            logger.exception("the job %s “%s” failed", job.kind, job.title)
            cure = say("The details are in the terminal; please report them.")
            job.end(
                FAILED, error=AtelierError("Something unforeseen: {error}", error=error, where=job.title, cure=cure)
            )
        else:
            job.end(STOPPED if job.stopped else DONE, result=result)

    def _forget(self) -> None:
        ended = [job for job in self._all if job.ended]
        for job in ended[: max(0, len(ended) - KEPT)]:
            self._all.remove(job)

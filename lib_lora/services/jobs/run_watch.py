"""What a run's work tells its record and the host, and what makes it leave the job queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib_lora.host.base import Lease
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence
from lib_lora.services.jobs.job import WAITING, Job
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.jobs.run_state import DRAW, PREPARE, SAMPLE, Run
from lib_lora.train.run_folder import RunFolder

if TYPE_CHECKING:
    from lib_lora.train.loop import Sampler


class Wished(Progress):
    """Says whether a person wants the run to stop or pause; other work that waits does not cut a sample short."""

    def __init__(self, run: Run, job: Job, lease: Lease) -> None:
        self._run, self.job, self._lease = run, job, lease

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop or pause, or the model is gone."""
        return bool(self._run.wish) or self.job.stopped or self._lease.interrupted or self._lease.lost


class Drawing(Wished):
    """Carries the drawing of regularization pictures to a run's record."""

    def __init__(self, run: Run, job: Job, jobs: JobQueue, lease: Lease) -> None:
        super().__init__(run, job, lease)
        self._jobs = jobs
        run.doing, run.part = DRAW, (0, 0)

    def update(self, done: int, total: int, text: str = "") -> None:
        """Note a picture."""
        self._run.part = (done, total)
        self.job.update(done, total, text)
        self._lease.show(done, total, text)

    def tell(self, note: Sentence) -> None:
        """Keep with the run what is to be said of the pictures."""
        self._run.folder.keep_remark(0, note)

    def gives_way(self) -> bool:
        """Whether somebody else waits for the model: a few pictures at least are drawn before."""
        return self._lease.wanted or any(job.state == WAITING and job is not self.job for job in self._jobs.jobs())


class Preparing(Wished):
    """Carries the reading and encoding of the pictures to a run's record."""

    def __init__(self, run: Run, job: Job, lease: Lease) -> None:
        super().__init__(run, job, lease)
        run.doing, run.part = PREPARE, (0, 0)

    def update(self, done: int, total: int, text: str = "") -> None:
        """Note a picture."""
        self._run.part = (done, total)
        self._lease.show(done, total, text)


class Watch(Wished):
    """Carries a run's progress to its record, and says when the run should leave the job queue."""

    def __init__(self, run: Run, job: Job, jobs: JobQueue, lease: Lease) -> None:
        super().__init__(run, job, lease)
        self._jobs = jobs
        self._stepped = False

    def update(self, done: int, total: int, text: str = "") -> None:
        """Note a step."""
        self._stepped = True
        self._run.stepped(done, total)
        self.job.update(done, total, text)
        self._lease.show(done, total, text)

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop or pause, other work waits for the model, or the model is gone."""
        if super().stopped:
            return True
        if self._stepped and self._lease.wanted:  # a step at least: two who ask in turn would starve the run
            return True
        return any(job.state == WAITING and job is not self.job for job in self._jobs.jobs())


def told(sampler: Sampler | None, run: Run, job: Job, lease: Lease) -> Sampler | None:
    """Return the sampler, noting in ``run`` that it renders samples meanwhile, and showing the newest to the host."""
    if sampler is None:
        return None

    def tell(folder: RunFolder, step: int, progress: Progress) -> Sequence[str]:
        run.doing = SAMPLE
        try:
            notes = sampler(folder, step, Wished(run, job, lease))
            newest = max(folder.samples.glob("step-*.png"), default=None)
            if newest is not None:
                lease.preview(newest)
            return notes
        finally:
            run.doing = ""
            run.begin_slice()  # rendering is no part of a step's time

    return tell

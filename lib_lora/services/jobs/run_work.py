"""The work of a run that has the host's model: pictures are prepared, it trains, its LoRA is saved and delivered."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.errors import FileError, StoppedError
from lib_lora.host.base import Host, Lease
from lib_lora.services.jobs.delivery import deliver
from lib_lora.services.jobs.job import Job
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.jobs.run_state import Run
from lib_lora.services.jobs.run_watch import Drawing, Preparing, Watch, told
from lib_lora.services.regularization import draw_missing
from lib_lora.services.speed import Speed
from lib_lora.services.training_samples import sampler_of
from lib_lora.train.estimate import Paces
from lib_lora.train.regularization import ClassPictures

if TYPE_CHECKING:
    from lib_lora.train.loop import TrainResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunWork:
    """What is done for a run, by whoever has taken it from the queue.

    Attributes:
        runs: the folder of all runs.
        loras: where prompts find a LoRA.
        state_seconds: so long after its last state a run saves the next.
    """

    host: Host
    jobs: JobQueue
    runs: Path
    loras: Path
    paces: Paces
    speed: Speed
    state_seconds: float

    def train(self, run: Run, watch: Watch, lease: Lease) -> TrainResult | None:
        """Prepare where it is not prepared, and train; None where it was stopped before it was prepared."""
        from lib_lora.train.loop import run as run_training
        from lib_lora.train.training import start  # not before somebody trains: a WebUI starts without it

        sampler = told(sampler_of(self.host, run.options), run, watch.job, lease)
        if run.training is not None and run.training.model is not self.host.model:
            # Loaded anew since the last slice: its saved state goes on there, or says that it is another model.
            run.training = None
        if run.training is None:
            if run.wish or not self._drawn(run, watch.job, lease):
                return None
            try:
                run.training = start(self.host.model, run.options, run.folder, Preparing(run, watch.job, lease))
            except StoppedError:
                run.doing = ""
                lease.check()
                return None
            run.step, run.total, run.doing = run.training.step, run.training.total, ""
            run.problems, run.plan = run.training.data.problems, run.training.plan()
            run.write()
        result = run_training(run.training, watch, sampler, state_seconds=self.state_seconds)
        lease.check()
        if run.pace is not None:
            try:
                self.paces.put(self.host.model, run.options, run.pace)
            except FileError as error:  # only a later estimate is the poorer for it
                logger.warning("the pace was not kept: %s", error)
        return result

    def _drawn(self, run: Run, job: Job, lease: Lease) -> bool:
        """Have the regularization pictures drawn that are missing; False where it was stopped, or others come first."""
        wanted = ClassPictures.of(run.options, self.host.model, self.runs, run.folder.path)
        if wanted is None or not wanted.missing():
            return True
        drawing = Drawing(run, job, self.jobs, lease)
        whole = draw_missing(
            self.host, wanted, drawing, speed=self.speed, gives_way=drawing.gives_way, tell=drawing.tell
        )
        run.doing = ""
        lease.check()
        return whole

    def save(self, run: Run) -> None:
        """Save the LoRA as it is now and put it where prompts find it."""
        if run.training is not None and run.training.step:
            from lib_lora.train.saving import save_lora

            path = save_lora(run.training, run.folder.lora_path_at(run.training.step))
            run.lora = self.deliver(path)

    def deliver(self, path: Path) -> Path:
        """Put a file where prompts find it, and tell the host."""
        placed = deliver(path, self.loras)
        self.host.loras_changed()
        return placed

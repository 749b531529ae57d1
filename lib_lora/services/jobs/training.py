"""The queue of training runs: it lives in the server, and gives the model away in between."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.names import ENDING
from lib_lora.host.base import Host
from lib_lora.sentences import say
from lib_lora.services.jobs.job import DONE, FAILED, RUNNING, STOPPED, WAITING, Job
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.jobs.run_failure import in_words
from lib_lora.services.jobs.run_log import RunLogs
from lib_lora.services.jobs.run_state import (
    PAUSE,
    PAUSED,
    RESUMABLE,
    STOP,
    WAIT,
    Run,
    RunView,
    read_status,
    view_of_folder,
)
from lib_lora.services.jobs.run_watch import Watch
from lib_lora.services.jobs.run_work import RunWork
from lib_lora.services.regularization import SPEED, about_drawing
from lib_lora.services.speed import Speed
from lib_lora.services.start_check import check_start
from lib_lora.train.estimate import Paces
from lib_lora.train.option_files import options_file
from lib_lora.train.options import TrainOptions
from lib_lora.train.run_folder import STATE_SECONDS, RunFolder
from lib_lora.train.states import states_of

KIND = "train"
logger = logging.getLogger(__name__)

Finished = Callable[[RunFolder, str], None]
"""Called with a run's folder and the language of whoever started it, when it is finished or was stopped and saved."""
Ended = Callable[[str], None]
"""Called with a run's name when it has left the queue: finished, stopped or failed."""


class Trainings:
    """All runs of one server: those that wait, the one that trains, and the folders of those that are over.

    One run is in the job queue at a time. It leaves as soon as other work waits there and comes back behind it, so a
    picture can be made in the middle of a training. A paused run holds the runs behind it back, not the other work.
    """

    def __init__(
        self,
        host: Host,
        jobs: JobQueue,
        *,
        runs: Path,
        loras: Path,
        on_finished: Finished | None = None,
        on_ended: Ended = lambda name: None,
        state_seconds: float = STATE_SECONDS,
        speed: Speed | None = None,
    ) -> None:
        self._speed = speed or Speed(runs / SPEED)
        self.paces = Paces(runs / "paces.json")
        self.logs = RunLogs()
        self._host, self._jobs = host, jobs
        self._runs, self._loras = runs, loras
        self._on_finished, self._on_ended = on_finished, on_ended
        self._work = RunWork(
            host, jobs, runs=runs, loras=loras, paces=self.paces, speed=self._speed, state_seconds=state_seconds
        )
        self._queue: list[Run] = []
        self._lock = threading.RLock()

    # -- what a person may ask for ------------------------------------------------------------------------------

    def check_name(self, name: str) -> None:
        """Refuse the name of a run or a LoRA that exists.

        Raises:
            InputError: with the place of what has the name.
        """
        run, lora = self._runs / name, self._loras / f"{name}.safetensors"
        if options_file(run) and not self._is_free(run):
            cure = say("Resume it, or choose another name; nothing was changed.")
            raise InputError("There is a run of this name already", where=str(run), cure=cure)
        if lora.exists():
            cure = say("Choose another name; nothing was changed.")
            raise InputError("There is a LoRA of this name already", where=str(lora), cure=cure)

    def check(self, options: TrainOptions) -> None:
        """Refuse what `start` refuses, apart from a name that is taken.

        Raises:
            InputError: the host's model cannot be trained, or the run could not go well.
        """
        self._host.check_training(trains_text=options.text_encoder_ratio > 0)
        check_start(self._host, options, self._runs)

    def _is_free(self, run: Path) -> bool:
        """Whether a run failed before its first step: mended, it may be started again under its name."""
        view = view_of_folder(run)
        active = any(one.name == run.name for one in self._queue)
        return view is not None and not active and view.state == FAILED and not view.step

    def start(self, options: TrainOptions, *, language: str = "en") -> RunView:
        """Make a run and put it at the end of the queue; see `start_all`."""
        return self.start_all([options], language=language)[0]

    def start_all(self, runs: Sequence[TrainOptions], *, language: str = "en") -> list[RunView]:
        """Make runs and put them at the end of the queue: all of them, or none.

        Raises:
            InputError: a name is taken, the host's model cannot be trained, or a run could not go well; nothing is
                left behind then.
        """
        for options in runs:
            self.check_name(options.name)
            self.check(options)
        with self._lock:
            for options in runs:
                self.check_name(options.name)
            made: list[Run] = []
            try:
                for options in runs:
                    RunFolder(self._runs / options.name).remove_unused()  # of a run that failed before its first step
                    folder = RunFolder.create(self._runs / options.name, options)
                    drawn = about_drawing(self._host, options, self._runs, self._speed)
                    made.append(Run(options.name, folder, options, language, problems=drawn))
            except AtelierError:
                for run in made:
                    run.folder.remove_unused()
                raise
            return [self._enqueue(run) for run in made]

    def pause(self, name: str) -> None:
        """Let a running run save its state after the present step and wait."""
        with self._lock:
            run = self._begun(name)
            if run.state != PAUSED:
                run.wish = PAUSE

    def stop(self, name: str) -> None:
        """End a running or paused run; its state and its LoRA as it is now are saved, and it can be resumed later."""
        with self._lock:
            run = self._begun(name)
            if run.state != PAUSED:
                run.wish = STOP
                return
        self._work.save(run)
        with self._lock:
            self._close(run, STOPPED)
        self._report(run)

    def resume(self, name: str, *, language: str = "en") -> RunView:
        """Go on with a run that was paused, stopped, interrupted or failed, from its newest state."""
        with self._lock:
            waiting = next((run for run in self._queue if run.name == name), None)
            if waiting is not None:
                if waiting.state != PAUSED:
                    raise InputError("This run is in the queue already", where=name)
                waiting.wish = ""
                waiting.set_state(WAITING)
                self._submit(waiting)
                return waiting.view()
            known = self.find(name)
            if known.state not in RESUMABLE:
                raise InputError("This run is finished", where=name, cure="Start a new run under another name.")
            folder = RunFolder.open(known.folder)
            run = Run(name, folder, folder.options(), language, step=known.step, total=known.total)
            run.seconds = float(read_status(known.folder).get("seconds") or 0.0)
            return self._enqueue(run)

    def remove(self, name: str) -> None:
        """Take a waiting run out of the queue; one that never began leaves nothing behind."""
        with self._lock:
            run = self._active(name)
            if run.state != WAITING or run.training is not None:
                raise InputError("Only a run that waits can be removed", where=name, cure="Stop it instead.")
            self._queue.remove(run)
            if run.job is not None:
                run.job.stop()
            if run.step:
                run.set_state(STOPPED)
            else:
                run.folder.remove_unused()
            self._next()

    def close(self, timeout: float = 30.0) -> None:
        """Let the running run save its state; called when the server ends."""
        with self._lock:
            running = next((run for run in self._queue if run.state == RUNNING), None)
            if running is None:
                return
            running.wish = PAUSE
        if running.job is not None:
            running.job.wait(timeout)

    # -- what a page shows --------------------------------------------------------------------------------------

    def queue(self) -> list[RunView]:
        """Return the runs of this server that are not over, in their order."""
        with self._lock:
            return [run.view() for run in self._queue]

    def past(self) -> list[RunView]:
        """Return the other runs, newest first."""
        active = {run.name for run in self.queue()}
        folders = self._runs.iterdir() if self._runs.is_dir() else ()
        found = [view_of_folder(path) for path in folders if path.is_dir() and path.name not in active]
        return sorted((view for view in found if view is not None), key=lambda view: view.when, reverse=True)

    def find(self, name: str) -> RunView:
        """Return the run of a name.

        Raises:
            InputError: there is none.
        """
        for view in self.queue():
            if view.name == name:
                return view
        # Only what is listed: a name with a path in it finds nothing.
        for view in self.past():
            if view.name == name:
                return view
        raise InputError("There is no run of this name", where=name, cure="Look at the list of runs; it has changed.")

    def lora_of(self, name: str, file: str = "") -> Path:
        """Return a run's LoRA in the folder of LoRAs: ``file`` of its folder, or the finished or newest one.

        Raises:
            InputError: the run has saved none yet.
        """
        view = self.find(name)
        if view.lora is not None and not file:
            return view.lora
        every = view.folder.glob(f"*{ENDING}")
        chosen = [path for path in every if path.name == file] if file else RunFolder(view.folder).own_loras()[-1:]
        if not chosen:
            raise InputError("This run has saved no LoRA yet", where=name, cure="Stop and save it, or let it finish.")
        return self._work.deliver(chosen[0])

    # -- the work -----------------------------------------------------------------------------------------------

    def _active(self, name: str) -> Run:
        for run in self._queue:
            if run.name == name:
                return run
        raise InputError("This run is not in the queue", where=name, cure="Look at the list of runs; it has changed.")

    def _begun(self, name: str) -> Run:
        run = self._active(name)
        if run.state == WAITING and run.job is None:
            raise InputError("This run has not begun", where=name, cure="Remove it from the queue, or let it wait.")
        return run

    def _enqueue(self, run: Run) -> RunView:
        run.write()
        self._queue.append(run)
        self._next()
        return run.view()

    def _next(self) -> None:
        """Give the first run to the job queue, unless it is there or paused."""
        with self._lock:
            first = self._queue[0] if self._queue else None
            if first is not None and first.state == WAITING and (first.job is None or first.job.ended):
                self._submit(first)

    def _submit(self, run: Run) -> None:
        run.job = self._jobs.submit(KIND, run.name, lambda job: self._slice(run, job))

    def _slice(self, run: Run, job: Job) -> None:
        """Train until the end, a wish, or other work in the job queue."""
        run.doing = WAIT  # a WebUI lends its model when the picture that it makes is finished
        if run.state != RUNNING:
            run.set_state(RUNNING)
        try:
            with self._host.training(run.name, trains_text=run.options.text_encoder_ratio > 0) as lease:
                run.doing = ""
                run.begin_slice()
                result = self._work.train(run, Watch(run, job, self._jobs, lease), lease)
                if lease.interrupted and not run.wish:
                    run.wish = STOP
            finished = result is not None and result.finished
            wish = run.wish
            if result is not None and finished:
                run.lora = self._work.deliver(result.lora)
            elif wish == STOP:
                self._work.save(run)
        except Exception as error:
            shown = in_words(error, run.name, has_state=bool(states_of(run.folder.states)))
            with self._lock:
                self._close(run, FAILED, error=shown)
            self._on_ended(run.name)
            if shown is error:
                raise
            raise shown from error
        finally:
            run.seconds += job.seconds
        with self._lock:
            if finished or wish == STOP:
                self._close(run, DONE if finished else STOPPED)
            elif wish == PAUSE or job.stopped:
                run.wish, run.job = "", None
                run.set_state(PAUSED)
            else:
                self._submit(run)  # other work waits in the job queue: go on behind it
        if finished or wish == STOP:
            self._report(run)

    def _close(self, run: Run, state: str, *, error: AtelierError | None = None) -> None:
        """Take a run out of the queue; its folder tells the rest. The next one begins."""
        if run in self._queue:
            self._queue.remove(run)
        if state == STOPPED and not run.step:
            run.folder.remove_unused()  # stopped before its first step: nothing is left of it
            self._next()
            return
        run.training, run.job, run.wish, run.doing = None, None, "", ""
        run.set_state(state, error=error)
        self._next()

    def _report(self, run: Run) -> None:
        """Have the report of a run written that is finished or was stopped, and say that it has left the queue."""
        if self._on_finished is not None and run.step:
            try:
                self._on_finished(run.folder, run.language)
            except AtelierError as error:
                logger.warning("the report of %s was not written: %s", run.name, error)
        self._on_ended(run.name)

"""Orders of a server: their trainings wait in the queue of trainings, their other steps in that of all work."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lib_lora.errors import AtelierError, InputError, StoppedError
from lib_lora.services.given_options import picture_folder
from lib_lora.services.jobs.job import DONE, RUNNING, WAITING, Job
from lib_lora.services.jobs.run_state import RESUMABLE, RunView, read_status, view_of_folder
from lib_lora.services.make.costs import Costs
from lib_lora.services.make.course import Course, course_of
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.make.plan import training
from lib_lora.services.make.record import FILE, RUNS, TRAIN, Make, new_make, read_make
from lib_lora.services.make.steps import act, is_training, trained
from lib_lora.services.make.work import Work
from lib_lora.services.speed import Speed
from lib_lora.train.option_files import options_file

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

KIND = "make"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MakeView:
    """An order as a page shows it.

    Attributes:
        make: the order with what is over.
        course: how far all of it is, and how long the rest takes.
        job: the step that works or waits, or the newest one, where this server knows it.
        run: the training that works or waits, where that is the next step.
        error: why it does not go on.
        going: whether its next step follows by itself; between two steps nothing of it is in a queue.
    """

    make: Make
    course: Course
    job: Job | None = None
    run: RunView | None = None
    error: AtelierError | None = None
    going: bool = False

    @property
    def active(self) -> bool:
        """Whether something of it is in a queue, or will be in a moment."""
        between = self.going and (self.job is None or self.job.state == DONE)
        working = bool(self.job and not self.job.ended) or bool(self.run and self.run.state in (RUNNING, WAITING))
        return between or working

    @property
    def done(self) -> bool:
        """Whether all of it is over."""
        return not self.make.next_step

    @property
    def planned(self) -> bool:
        """Whether the plan stands and waits for somebody's word."""
        return self.make.next_step == TRAIN and not self.active and self.run is None


def allowed(atelier: Atelier, options: MakeOptions) -> MakeOptions:
    """Return an order that came through a page or over HTTP, its folders absolute.

    Raises:
        InputError: a folder is not there, or none that this server may use.
    """
    tagger = str(atelier.folders.allowed(options.tagger, where="tagger")) if options.tagger else ""
    return replace(options, images=str(picture_folder(atelier, options.images, "images")), tagger=tagger)


class Makes:
    """What a person may ask of the orders of a server."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier
        self._going: dict[str, bool] = {}
        """Name -> whether it stops after the plan; of those that go on by themselves."""
        self._jobs: dict[str, Job] = {}
        self._errors: dict[str, AtelierError] = {}
        self._lock = threading.RLock()

    def start(self, options: MakeOptions, *, language: str = "en", until_plan: bool = False) -> MakeView:
        """Begin a new order; with ``until_plan`` it waits for a word when the plan is made.

        Raises:
            InputError: its name is taken, or the host's model cannot be trained.
        """
        made = new_make(options, self._atelier.folders.runs, language=language)
        for name in (made.name, *map(made.run, RUNS)):
            self._atelier.trainings.check_name(name)
        self._atelier.host.check_training(trains_text=True)
        made.save()
        return self._go(made, until_plan=until_plan)

    def go_on(self, name: str, **changed: Any) -> MakeView:
        """Go on with an order from the step that is next, with other options where its training has not begun.

        Raises:
            InputError: there is none, it is finished or at work, or an option cannot be changed any more.
        """
        view = self.find(name)
        if view.active:
            raise InputError("This order is in the queue already", where=name, cure="Wait for it, or stop it.")
        if view.done:
            raise InputError("This LoRA is finished", where=name, cure="Make another one under another name.")
        new = {key: value for key, value in changed.items() if getattr(view.make.options, key) != value}
        return self._go(view.make.changed(**new) if new else view.make)

    def stop(self, name: str) -> MakeView:
        """Stop what works or waits of an order; what is done is kept."""
        view = self.find(name)
        with self._lock:
            self._going.pop(name, None)
        if view.job is not None and not view.job.ended:
            view.job.stop()
        if view.run is not None and view.run.state in (RUNNING, WAITING):
            if view.run.state == WAITING and not view.run.step:
                self._atelier.trainings.remove(view.run.name)
            else:
                self._atelier.trainings.stop(view.run.name)
        return self.find(name)

    def ended(self, run: str) -> None:
        """Go on with the order whose training this was; called when a run has left the queue."""
        for name in list(self._going):
            made = self._read(name)
            if made is None or not is_training(made.next_step) or made.run(made.next_step) != run:
                continue
            view = view_of_folder(made.run_folder(made.next_step))
            if view is None or view.state != DONE:  # stopped by its own button, or failed: it says why
                self._going.pop(name, None)
                if view is not None and view.error is not None:
                    self._errors[name] = view.error
                continue
            seconds = float(read_status(view.folder).get("seconds") or 0.0)
            self._advance(trained(self._work(made), made.next_step, seconds))

    def listed(self, most: int | None = None) -> list[MakeView]:
        """Return the orders, newest first; at most so many."""
        paths = self._atelier.folders.runs.glob(f"*/{FILE}")
        by_time = sorted(((path.stat().st_mtime, path.parent.name) for path in paths), reverse=True)
        views = (self._read(name) for _, name in by_time[:most])
        return [self.view(made) for made in views if made is not None]

    def damaged(self) -> list[AtelierError]:
        """Return why orders are not listed that are there."""
        found = []
        for path in self._atelier.folders.runs.glob(f"*/{FILE}"):
            try:
                read_make(path.parent)
            except AtelierError as error:
                found.append(error)
        return found

    def find(self, name: str) -> MakeView:
        """Return the order of a name.

        Raises:
            InputError: there is none, or its record cannot be read.
        """
        if not (self._atelier.folders.runs / name / FILE).is_file() or "/" in name or "\\" in name:
            raise InputError("No LoRA of this name is being made", where=name, cure="Look at the list.")
        return self.view(read_make(self._atelier.folders.runs / name))

    def view(self, made: Make) -> MakeView:
        """Return an order as it is now."""
        step, run = made.next_step, None
        if is_training(step):
            queue = {one.name: one for one in self._atelier.trainings.queue()}
            run = queue.get(made.run(step)) or (
                view_of_folder(made.run_folder(step)) if options_file(made.run_folder(step)) else None
            )
        job = self._jobs.get(made.name)
        error = self._errors.get(made.name) or (job.error if job is not None else None)
        course = _course(made, Costs.beside(Speed.of(self._atelier).path), job, run)
        error = error or (run.error if run is not None else None)
        return MakeView(made, course, job, run, error, made.name in self._going)

    def _go(self, made: Make, *, until_plan: bool = False) -> MakeView:
        with self._lock:
            self._going[made.name] = until_plan
            self._errors.pop(made.name, None)
            self._jobs.pop(made.name, None)
        self._advance(made)
        return self.find(made.name)

    def _advance(self, made: Make) -> None:
        """Queue the next step of an order that goes on by itself."""
        with self._lock:
            until_plan = self._going.get(made.name)
            step = made.next_step
            if until_plan is None or not step or (until_plan and step == TRAIN):
                self._going.pop(made.name, None)
                return
        try:
            if is_training(step):
                self._train(made, step)
            else:
                self._jobs[made.name] = self._atelier.queue.submit(KIND, made.name, self._acting(made.name, step))
        except AtelierError as error:
            self._failed(made.name, error)

    def _train(self, made: Make, step: str) -> None:
        """Put a training into its queue: a new one, or one that was begun."""
        run = made.run(step)
        view = view_of_folder(made.run_folder(step)) if options_file(made.run_folder(step)) else None
        if view is not None and view.state in RESUMABLE:
            self._atelier.trainings.resume(run, language=made.language)
        elif view is not None and view.state == DONE:
            self._advance(trained(self._work(made), step, float(read_status(view.folder).get("seconds") or 0.0)))
        elif view is None:
            self._atelier.trainings.start(training(self._work(made), step), language=made.language)

    def _acting(self, name: str, step: str) -> Any:
        def work(job: Job) -> dict[str, Any]:
            made = self._read(name)
            if made is None or name not in self._going:
                raise StoppedError
            try:
                made = act(self._work(made), step, job)
            except AtelierError as error:
                self._failed(name, error)
                raise
            self._advance(made)
            return dict(made.results[step])

        return work

    def _failed(self, name: str, error: AtelierError) -> None:
        with self._lock:
            self._going.pop(name, None)
            if not isinstance(error, StoppedError):
                self._errors[name] = error

    def _work(self, made: Make) -> Work:
        atelier = self._atelier
        return Work(made, atelier.host, atelier.folders.loras, Speed.of(atelier))

    def _read(self, name: str) -> Make | None:
        try:
            return read_make(self._atelier.folders.runs / name)
        except AtelierError as error:
            logger.warning("%s: %s", name, error)
            return None


def _course(made: Make, costs: Costs, job: Job | None, run: RunView | None) -> Course:
    """Return where an order stands, by what its present training or job tells."""
    if run is not None and run.total:
        return course_of(made, costs, part=run.step / run.total, rest=run.seconds_left)
    working = job is not None and job.state == RUNNING and run is None
    return course_of(made, costs, spent=job.seconds if job is not None and working else 0.0)

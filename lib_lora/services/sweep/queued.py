"""Sweeps of a server: their runs wait in the queue of trainings like any others, and are compared when all are over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.progress import Progress
from lib_lora.services.jobs.job import DONE, FAILED, RUNNING, WAITING
from lib_lora.services.jobs.run_state import RESUMABLE, RunView, view_of_folder
from lib_lora.services.sweep.compared import NUMBERS, TABLE
from lib_lora.services.sweep.comparison import compare
from lib_lora.services.sweep.facts import RunFacts, run_facts
from lib_lora.services.sweep.record import FILE, Reader, Sweep, fresh, prompt_for, read_sweep
from lib_lora.services.sweep.sheet import picture_name
from lib_lora.train.options import TrainOptions, check_name
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.sweep_table import SweepTable

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier
    from lib_lora.services.jobs.job import Job

KIND = "compare"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepView:
    """A sweep as a page shows it; a run that is not there (yet, or any more) is None."""

    sweep: Sweep
    runs: Mapping[str, RunView | None]

    @property
    def active(self) -> bool:
        """Whether runs of it are in the queue."""
        return any(view is not None and view.state in (RUNNING, WAITING) for view in self.runs.values())

    @property
    def finished(self) -> int:
        """How many of its runs are finished."""
        return sum(view is not None and view.state == DONE for view in self.runs.values())

    @property
    def unfinished(self) -> bool:
        """Whether it could go on: a run is not there, or was stopped or paused, or failed."""
        return any(view is None or view.state in RESUMABLE for view in self.runs.values())

    def files(self, language: str = "en") -> dict[str, Path]:
        """Return the comparison's files that are there: its picture in a language, its table, its numbers.

        One that an older version wrote has its picture in English only.
        """
        names = (("picture", picture_name("en")), ("picture", picture_name(language)), ("table", TABLE))
        paths = [(kind, self.sweep.folder / name) for kind, name in (*names, ("numbers", NUMBERS))]
        return {kind: path for kind, path in paths if path.is_file()}


class Sweeps:
    """What a person may ask of the sweeps of a server."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier

    def start(
        self,
        name: str,
        table: SweepTable,
        values: Mapping[str, Any],
        read: Reader,
        *,
        prompt: str = "",
        language: str = "en",
    ) -> SweepView:
        """Check every run of a new sweep, then put all of them at the end of the queue.

        Args:
            name: of the sweep; those of its runs begin with it.
            table: in what the runs differ.
            values: the options that they share, as they were given.
            read: from a run's values to its options.
            prompt: of the comparison's pictures; without it the first sample prompt, or trigger and class word.
            language: of whoever starts it.

        Raises:
            InputError: a name is taken, or a run could not go well: its values are named. Nothing is begun then.
        """
        check_name(name)
        runs = self._atelier.trainings
        runs.check_name(name)
        sweep = Sweep(fresh(self._atelier.folders.runs / name), _without_name(values), table, language=language)
        made = self._checked(sweep, read)
        first = next(iter(made.values()))
        sweep = Sweep(sweep.folder, sweep.values, table, prompt_for(prompt, first, self._atelier.host), language)
        sweep.save()
        try:
            runs.start_all(list(made.values()), language=language)
        except AtelierError:
            sweep.forget()
            raise
        return self.view(sweep)

    def go_on(self, name: str, read: Reader, *, language: str = "en") -> SweepView:
        """Put every run at the end of the queue that is neither finished nor there; begun ones go on.

        Raises:
            InputError: all runs are finished or in the queue, or a run could not go well: its values are named.
        """
        view = self.find(name)
        if not view.unfinished:
            raise InputError(
                "All runs of this sweep are finished, or in the queue",
                where=name,
                cure="Compare them, or start another sweep with more values.",
            )
        made = self._checked(view.sweep, read, begun=True)
        for run, kept in view.runs.items():
            if run in made:
                self._atelier.trainings.start(made[run], language=language)
            elif kept is not None and kept.state in RESUMABLE:
                self._atelier.trainings.resume(run, language=language)
        return self.view(view.sweep)

    def stop(self, name: str) -> SweepView:
        """Take the waiting runs of a sweep out of the queue, and stop the one that trains; what is done is kept."""
        view = self.find(name)
        trainings = self._atelier.trainings
        for one in reversed(trainings.queue()):
            if one.name not in view.runs:
                continue
            try:
                if one.state == WAITING and not one.step:
                    trainings.remove(one.name)
                else:
                    trainings.stop(one.name)
            except InputError as error:  # it began, or ended, a moment ago
                logger.info("%s: %s", one.name, error)
                if one.state == WAITING and any(each.name == one.name for each in trainings.queue()):
                    trainings.stop(one.name)
        return self.view(view.sweep)

    def compare(self, name: str) -> Job:
        """Queue the comparison of what is finished; the job's result is what `Compared.to_dict` returns.

        Raises:
            InputError: there is no such sweep, or no run of it is finished.
        """
        view = self.find(name)
        if not view.finished:
            raise InputError("No run of this sweep is finished yet", where=name, cure="Wait for the first one.")

        def work(job: Job) -> dict[str, Any]:
            return self._compared(self.find(name), job)

        return self._atelier.queue.submit(KIND, name, work)

    def ended(self, run: str) -> None:
        """Compare the sweep whose last run this was; called when a run has left the queue."""
        for sweep in self._all():
            if run not in sweep.runs:
                continue
            states = [view.state if view else "" for view in self.view(sweep).runs.values()]
            if DONE in states and set(states) <= {DONE, FAILED}:
                self.compare(sweep.name)

    def listed(self, most: int | None = None) -> list[SweepView]:
        """Return the sweeps, newest first; at most so many."""
        return [self.view(sweep) for sweep in self._all()[:most]]

    def names(self) -> set[str]:
        """Return the names of all sweeps, those with a damaged record too."""
        return {path.parent.name for path in self._atelier.folders.runs.glob(f"*/{FILE}")}

    def damaged(self) -> list[AtelierError]:
        """Return why sweeps are not listed that are there."""
        return [kept for kept in self._kept() if isinstance(kept, AtelierError)]

    def find(self, name: str) -> SweepView:
        """Return the sweep of a name.

        Raises:
            InputError: there is none, or its record cannot be read.
        """
        if name not in self.names():
            raise InputError("There is no sweep of this name", where=name, cure="Look at the list of sweeps.")
        return self.view(read_sweep(self._atelier.folders.runs / name))

    def view(self, sweep: Sweep) -> SweepView:
        """Return a sweep with its runs as they are now."""
        queue = {one.name: one for one in self._atelier.trainings.queue()}
        return SweepView(sweep, {run: queue.get(run) or view_of_folder(sweep.place(run)) for run in sweep.runs})

    def facts(self, view: SweepView) -> list[RunFacts]:
        """Return what each run of a sweep came to."""
        sweep = view.sweep
        return [run_facts(run, row, sweep.place(run), view.runs[run]) for run, row in sweep.runs.items()]

    def _all(self) -> list[Sweep]:
        return [kept for kept in self._kept() if isinstance(kept, Sweep)]

    def _kept(self) -> list[Sweep | AtelierError]:
        """Return every sweep, newest first, and last those that cannot be read, as errors."""
        found: list[tuple[float, str, Sweep | AtelierError]] = []
        for name in self.names():
            path = self._atelier.folders.runs / name / FILE
            try:
                found.append((path.stat().st_mtime, name, read_sweep(path.parent)))
            except AtelierError as error:
                found.append((0.0, name, error))
            except FileNotFoundError:  # gone meanwhile
                continue
        return [kept for *_, kept in sorted(found, key=lambda row: row[:2], reverse=True)]

    def _checked(self, sweep: Sweep, read: Reader, *, begun: bool = False) -> dict[str, TrainOptions]:
        trainings = self._atelier.trainings

        def check(options: TrainOptions) -> None:
            trainings.check_name(options.name)
            trainings.check(options)

        return sweep.check(self._atelier.host, read, check, begun=begun)

    def _compared(self, view: SweepView, progress: Progress) -> dict[str, Any]:
        atelier = self._atelier
        first = next(run for run, kept in view.runs.items() if kept is not None and kept.state == DONE)
        options = RunFolder(view.sweep.place(first)).options()
        lora_of = atelier.trainings.lora_of
        return compare(view.sweep, options, self.facts(view), atelier.host, lora_of, progress).to_dict()


def _without_name(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "name"}

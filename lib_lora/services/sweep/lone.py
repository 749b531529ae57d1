"""A sweep without a queue, for the terminal: one run after another on one host, then their comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError, StoppedError
from lib_lora.host.base import Host
from lib_lora.progress import Progress
from lib_lora.services.given_presets import with_presets
from lib_lora.services.jobs.job import DONE, FAILED, RUNNING, STOPPED
from lib_lora.services.jobs.run_failure import in_words
from lib_lora.services.jobs.run_state import Run, read_status, view_of_folder
from lib_lora.services.lone_run import HostOpener, LoneRun
from lib_lora.services.start_check import check_pictures, check_start
from lib_lora.services.sweep.compared import Compared
from lib_lora.services.sweep.comparison import compare
from lib_lora.services.sweep.facts import RunFacts, run_facts
from lib_lora.services.sweep.record import Sweep, fresh, prompt_for, read_sweep
from lib_lora.train.options import TrainOptions, check_name, from_mapping
from lib_lora.train.recipes import facts_of
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import states_of
from lib_lora.train.sweep_table import SweepTable, values_text

Tell = Callable[[str], None]


@dataclass(frozen=True)
class LoneSweep:
    """A sweep that is ready, on its host."""

    sweep: Sweep
    host: Host

    @classmethod
    def new(
        cls, host: HostOpener, table: SweepTable, values: Mapping[str, Any], runs: Path, *, prompt: str, where: str
    ) -> LoneSweep:
        """Return a new sweep in ``runs``, every run of it checked; ``where`` stands in errors.

        Raises:
            InputError: a name is taken, or a run could not go well: its values are named. Nothing is begun then.
        """
        name = str(values.get("name") or "")
        check_name(name)
        shared = {key: value for key, value in values.items() if key != "name"}
        sweep = Sweep(fresh(runs / name), shared, table)

        def without_model(each: Mapping[str, Any]) -> TrainOptions:
            options = from_mapping(each, where=where)
            check_pictures(options)
            return options

        for run in sweep.runs:  # all that can be known before the model is loaded
            sweep.options(run, without_model)
        made = cls(sweep, host())
        first = next(iter(made._checked(begun=False).values()))
        kept = Sweep(sweep.folder, shared, table, prompt_for(prompt, first, made.host))
        kept.save()
        return cls(kept, made.host)

    @classmethod
    def gone_on(cls, host: HostOpener, folder: Path) -> LoneSweep:
        """Return the sweep in a folder; what is finished of it is not trained again.

        Raises:
            InputError: it is no folder of a sweep, or a run could not go well: its values are named.
        """
        made = cls(read_sweep(folder), host())
        made._checked(begun=True)
        return made

    def work(self, progress: Progress, tell: Tell) -> Compared | None:
        """Train every run that is not finished, and compare them; None after a stop before one was finished.

        A run that fails is said, and the others are trained all the same. ``tell`` hears what goes on.
        """
        for number, (run, row) in enumerate(self.sweep.runs.items(), start=1):
            view = view_of_folder(self.sweep.place(run))
            if view is not None and view.state == DONE:
                tell(f"run {number} of {len(self.sweep.runs)} is finished already: {values_text(row)}")
                continue
            if progress.stopped:
                break
            tell(f"run {number} of {len(self.sweep.runs)}: {values_text(row)}")
            self._train(run, progress, tell)
        facts = self.facts()
        finished = [one.run for one in facts if one.finished]
        if not finished:
            return None
        options = RunFolder(self.sweep.place(finished[0])).options()
        return compare(self.sweep, options, facts, self.host, self.lora_of, progress)

    def facts(self) -> list[RunFacts]:
        """Return what each run came to."""
        sweep = self.sweep
        return [
            run_facts(run, row, sweep.place(run), view_of_folder(sweep.place(run))) for run, row in sweep.runs.items()
        ]

    def lora_of(self, run: str) -> Path:
        """Return the LoRA of a finished run."""
        path = self.sweep.place(run) / f"{run}.safetensors"
        if not path.is_file():
            raise InputError("This run has saved no LoRA yet", where=run, cure="Stop and save it, or let it finish.")
        return path

    def _train(self, run: str, progress: Progress, tell: Tell) -> None:
        """Train one run to its end, to a stop or to its failure, and note in its folder how it went."""
        place, made, began = self.sweep.place(run), None, time.monotonic()
        before = float(read_status(place).get("seconds") or 0.0)
        noted = Run(run, RunFolder(place), self._read({**self.sweep.values, **self.sweep.runs[run], "name": run}))
        try:
            made = self._ready(run, progress, tell)
            noted.set_state(RUNNING)
            result = made.work(progress)
        except StoppedError:
            return
        except Exception as error:  # whatever a training may raise: the other runs are trained all the same
            shown = in_words(error, run, has_state=bool(states_of(noted.folder.states)))
            noted.seconds = before + time.monotonic() - began
            if place.is_dir():
                noted.set_state(FAILED, error=shown)
            tell(f"this run failed: {shown}")
            return
        noted.seconds = before + time.monotonic() - began
        noted.step, noted.total, noted.lora = result.steps, made.training.total, result.lora
        noted.plan, noted.problems = made.training.plan(), made.training.data.problems
        if result.steps:
            noted.set_state(DONE if result.finished else STOPPED)
        made.leave()

    def _ready(self, run: str, progress: Progress, tell: Tell) -> LoneRun:
        sweep, host = self.sweep, lambda: self.host
        if view_of_folder(sweep.place(run)) is not None:
            return LoneRun.gone_on(host, sweep.place(run), progress=progress)
        values = {**sweep.values, **sweep.runs[run], "name": run}
        return LoneRun.new(host, values, sweep.folder.parent, where=run, progress=progress, tell=tell)

    def _read(self, values: Mapping[str, Any]) -> TrainOptions:
        where = str(values.get("name", ""))
        return with_presets(from_mapping(values, where=where, model=facts_of(self.host.model)), self.host)

    def _checked(self, *, begun: bool) -> dict[str, TrainOptions]:
        runs = self.sweep.folder.parent

        def check(options: TrainOptions) -> None:
            if not begun:
                RunFolder.fresh(runs / options.name)
            check_start(self.host, options, runs)

        return self.sweep.check(self.host, self._read, check, begun=begun)

"""An order without a queue, for the terminal and for programs: one step after another on one host."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.errors import AtelierError, InputError, StoppedError
from lib_lora.formats.names import ENDING
from lib_lora.host.base import Host
from lib_lora.progress import Progress
from lib_lora.services.jobs.delivery import deliver
from lib_lora.services.lone_run import LoneRun
from lib_lora.services.make.course import Whole
from lib_lora.services.make.plan import training
from lib_lora.services.make.record import PICTURES, RUNS, Make
from lib_lora.services.make.steps import NAMES, act, is_training, trained
from lib_lora.services.make.work import Work
from lib_lora.services.regularization import SPEED
from lib_lora.services.speed import Speed
from lib_lora.train.option_files import options_file
from lib_lora.train.run_folder import RunFolder

Tell = Callable[[str], None]


@dataclass(frozen=True)
class LoneMake:
    """An order that is ready, on its host."""

    work: Work

    @classmethod
    def of(cls, make: Make, host: Host, loras: Path) -> LoneMake:
        """Return it; finished files go into ``loras``, where the host's prompts find them.

        Raises:
            InputError: a LoRA of this name is there already.
        """
        taken = [name for name in (make.name, *map(make.run, RUNS)) if (loras / f"{name}{ENDING}").exists()]
        if taken and not make.results:
            raise InputError(
                "There is a LoRA of this name already", where=str(loras / taken[0]), cure="Choose another name."
            )
        return cls(Work(make, host, loras, Speed(make.folder.parent / SPEED)))

    def go(self, progress: Progress, tell: Tell, *, until: str = "") -> Make:
        """Carry out every step that is not over, and return the order.

        Args:
            progress: is told how far all of it is (`Whole`); a stop leaves what is done, and `go` goes on there.
            tell: hears each step's name and what it decided.
            until: the step to stop before; empty for none.

        Raises:
            StoppedError: asked to stop. AtelierError: a step cannot be done; those before are kept, and where the first
                one cannot be done nothing is.
        """
        work = self.work
        fresh = not work.make.folder.exists()
        work.make.save()
        while (step := work.make.next_step) and step != until:
            tell(f"{work.make.steps.index(step) + 1}/{len(work.make.steps)} {NAMES[step]}")
            if progress.stopped:
                raise StoppedError
            whole = Whole(work.make, work.costs, progress)
            try:
                made = self._train(work, step, whole, tell) if is_training(step) else act(work, step, whole)
            except AtelierError:
                if fresh and step == PICTURES and not progress.stopped:
                    shutil.rmtree(work.make.folder, ignore_errors=True)
                raise
            work = replace(work, make=made)
            for note in made.notes(step):
                tell(f"  {note}")
        return work.make

    def _train(self, work: Work, step: str, progress: Progress, tell: Tell) -> Make:
        """Train one run to its end, from where it is."""
        began, place = time.monotonic(), work.make.run_folder(step)
        if options_file(place):
            run = LoneRun.gone_on(lambda: work.host, place, progress=progress)
        else:
            values = training(work, step).to_dict()
            run = LoneRun.new(lambda: work.host, values, work.runs, where=step, progress=progress, tell=tell)
        try:
            result = run.work(progress)
        finally:
            run.leave()
        if not result.finished:
            raise StoppedError
        deliver(RunFolder.open(place).lora_path(), work.loras)
        work.host.loras_changed()
        return trained(work, step, time.monotonic() - began)

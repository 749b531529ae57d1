"""A training without a queue, for the terminal and for programs: checked, begun or gone on with, and run to its end."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError, StoppedError
from lib_lora.host.base import Host
from lib_lora.progress import Progress
from lib_lora.sentences import Sentence
from lib_lora.services.regularization import SPEED, about_drawing, draw_missing
from lib_lora.services.speed import Speed
from lib_lora.services.start_check import check_pictures, fresh_run
from lib_lora.services.training_samples import sampler_of
from lib_lora.train.loop import TrainResult, run
from lib_lora.train.options import TrainOptions, from_mapping
from lib_lora.train.regularization import ClassPictures
from lib_lora.train.run_folder import STATE_SECONDS, RunFolder
from lib_lora.train.together import Awaited, Team, TeamProgress, shadow_of
from lib_lora.train.training import Training, start

HostOpener = Callable[[], Host]
"""Loads the model; asked only when all that can be known without it is right."""


@dataclass(frozen=True)
class LoneRun:
    """A run that is ready, on its host."""

    host: Host
    training: Training
    team: Team = field(default_factory=Team)

    @classmethod
    def new(
        cls,
        host: HostOpener,
        values: Mapping[str, Any],
        runs: Path,
        *,
        where: str,
        progress: Progress,
        tell: Callable[[str], None] = lambda text: None,
    ) -> LoneRun:
        """Return a new run in ``runs`` over the recipe for the host's model; ``where`` stands in errors.

        ``tell`` hears what is drawn before the training.

        Raises:
            InputError: an option cannot be right; nothing was begun. FileError: a folder cannot be used.
        """
        check_pictures(from_mapping(values, where=where))
        loaded = host()
        chosen, folder = fresh_run(loaded, values, runs, where=where)
        for text in about_drawing(loaded, chosen, runs, Speed(runs / SPEED)):
            tell(text)
        notes = _drawn(loaded, chosen, runs, progress)
        return cls(loaded, _remarked(start(loaded.model, chosen, folder, progress), notes))

    @classmethod
    def gone_on(cls, host: HostOpener, folder: Path, *, progress: Progress, runs: Path | None = None) -> LoneRun:
        """Return the run in a folder, from its newest good state on, with its own options.

        ``runs`` is where lies what runs share; without it beside the run's folder.

        Raises:
            InputError, FileError: it is no folder of a run, or does not fit the host's model.
        """
        kept = RunFolder.open(folder)
        options, loaded = kept.options(), host()
        shared = runs or kept.path.absolute().parent
        notes = _drawn(loaded, options, shared, progress, kept.path)
        return cls(loaded, _remarked(start(loaded.model, options, kept, progress, runs=shared), notes))

    @classmethod
    def together(
        cls, team: Team, first: Callable[[Progress], LoneRun], host: HostOpener, progress: Progress
    ) -> LoneRun:
        """Return the run as one process of ``team`` has it: the first makes it, the others train on a copy of it.

        Making it may take hours, where the first draws regularization pictures. Only the first writes the run's folder;
        where it is lost, another one saves its state there.

        Raises:
            AtelierError: the first could not begin, or see `new` and `gone_on`.
        """
        if team.rank:
            real = Path(team.told_when_ready())
            place = Path(tempfile.mkdtemp(prefix="atelier-"))
            shadow = cls.gone_on(host, shadow_of(real, place), progress=progress, runs=real.parent)
            made = replace(shadow, team=team)
            made.training.state_copy = real
        else:
            made = replace(first(Awaited(progress, team)), team=team)
            if made.training.options.batch_size < team.size:
                raise InputError(
                    "{n} processes cannot share a batch of {batch}",
                    n=team.size,
                    batch=made.training.options.batch_size,
                    where="batch_size",
                    cure="Give a batch_size that is at least the number of processes: it counts for all of them.",
                )
            team.told_by_first(str(made.training.folder.path.absolute()))
        made.training.team = team
        return made

    def work(self, progress: Progress) -> TrainResult:
        """Train to the end, or to a stop."""
        if self.team.alone:
            return run(self.training, progress, sampler_of(self.host, self.training.options))
        shared = TeamProgress(progress, self.team)
        sampler = None if self.team.rank else sampler_of(self.host, self.training.options)
        return run(self.training, shared, sampler, state_seconds=math.inf if self.team.rank else STATE_SECONDS)

    def leave(self) -> None:
        """Leave nothing behind of a run that made no step, and of a copy of its folder."""
        if self.team.rank:
            shutil.rmtree(self.training.folder.path.parent, ignore_errors=True)
            return
        if not self.training.step:
            self.training.folder.remove_unused()


def _drawn(
    host: Host, options: TrainOptions, runs: Path, progress: Progress, run: Path | None = None
) -> Sequence[Sentence]:
    """Have the regularization pictures drawn that are missing; return what is to be said of them.

    Raises:
        StoppedError: somebody asked to stop; what was drawn is kept.
    """
    notes: list[Sentence] = []
    wanted = ClassPictures.of(options, host.model, runs, run)
    if wanted is not None and not draw_missing(host, wanted, progress, speed=Speed(runs / SPEED), tell=notes.append):
        raise StoppedError
    return notes


def _remarked(training: Training, notes: Sequence[Sentence]) -> Training:
    for note in notes:
        training.remark(note)
    return training

"""A training without a queue, for the terminal and for programs: checked, begun or gone on with, and run to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.host.base import Host
from lib_lora.progress import Progress
from lib_lora.services.samples import sampler_of
from lib_lora.services.start_check import check_pictures, fresh_run
from lib_lora.train.loop import TrainResult, run
from lib_lora.train.options import from_mapping
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import Training, start

HostOpener = Callable[[], Host]
"""Loads the model; asked only when all that can be known without it is right."""


@dataclass(frozen=True)
class LoneRun:
    """A run that is ready, on its host."""

    host: Host
    training: Training

    @classmethod
    def new(cls, host: HostOpener, values: Mapping[str, Any], runs: Path, *, where: str, progress: Progress) -> LoneRun:
        """Return a new run in ``runs`` over the recipe for the host's model; ``where`` stands in errors.

        Raises:
            InputError: an option cannot be right; nothing was begun. FileError: a folder cannot be used.
        """
        check_pictures(from_mapping(values, where=where))
        loaded = host()
        chosen, folder = fresh_run(loaded, values, runs, where=where)
        return cls(loaded, start(loaded.model, chosen, folder, progress))

    @classmethod
    def gone_on(cls, host: HostOpener, folder: Path, *, progress: Progress) -> LoneRun:
        """Return the run in a folder, from its newest good state on, with its own options.

        Raises:
            InputError, FileError: it is no folder of a run, or does not fit the host's model.
        """
        kept = RunFolder.open(folder)
        options, loaded = kept.options(), host()
        return cls(loaded, start(loaded.model, options, kept, progress))

    def work(self, progress: Progress) -> TrainResult:
        """Train to the end, or to a stop."""
        return run(self.training, progress, sampler_of(self.host, self.training.options))

    def leave(self) -> None:
        """Leave nothing behind of a run that made no step."""
        if not self.training.step:
            self.training.folder.remove_unused()

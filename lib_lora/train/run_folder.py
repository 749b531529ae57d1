"""A run is a folder: options, data fingerprint, log, samples, states and LoRA files of one training, together.

    NAME/options.json  data.json  log.jsonl  states/step-00000500.pt  samples/…
    NAME/NAME-000005.safetensors  NAME.safetensors

Every file but the log is written beside its place and renamed, so a run that is killed at any moment can be opened.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lib_lora.atomic import replace_file
from lib_lora.errors import FileError, InputError
from lib_lora.train.option_files import OPTIONS_FILE, options_file, read_options, to_json
from lib_lora.train.options import TrainOptions

STATE_PATTERN = "step-*.pt"
STATE_SECONDS = 60.0
"""A state is saved at least this often, so that a power cut costs minutes at most."""
LEFTOVER_SECONDS = 3600.0
"""A ``.tmp`` file older than this belongs to nobody any more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @classmethod
    def create(cls, path: Path, options: TrainOptions) -> RunFolder:
        """Make a new run folder with its options.

        Raises:
            InputError: there is a run already.
        """
        if options_file(path):
            raise InputError(
                "there is a run of this name already",
                where=str(path),
                cure="Resume it, or choose another name; nothing was changed.",
            )
        run = cls(path)
        for folder in (path, run.states, run.samples):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FileError(f"the run's folder cannot be made ({error.strerror})", where=str(folder)) from error
        replace_file(path / OPTIONS_FILE, to_json(options).encode())
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            InputError: it holds no run.
        """
        if options_file(path) is None:
            raise InputError(
                "this folder holds no run", where=str(path), cure="Choose the folder that has options.json."
            )
        run = cls(path)
        run.clean()
        return run

    def clean(self, *, older_than: float = LEFTOVER_SECONDS) -> list[Path]:
        """Delete unfinished files that a hard kill left; younger ones may be a save that is under way. Return them."""
        limit, gone = time.time() - older_than, []
        for leftover in self.path.rglob("*.tmp"):
            try:
                if leftover.is_file() and leftover.stat().st_mtime < limit:
                    leftover.unlink()
                    gone.append(leftover)
            except OSError as error:  # gone meanwhile, or held open by another program: it is only untidy
                logger.info("%s was left where it is: %s", leftover, error)
        return gone

    @property
    def states(self) -> Path:
        """The folder of states."""
        return self.path / "states"

    @property
    def samples(self) -> Path:
        """The folder of sample pictures."""
        return self.path / "samples"

    @property
    def options_path(self) -> Path:
        """The file with the run's options."""
        return options_file(self.path) or self.path / OPTIONS_FILE

    def options(self) -> TrainOptions:
        """Return the options that the run was started with."""
        return read_options(self.options_path)

    def lora_path(self, epoch: int | None = None) -> Path:
        """Return where the LoRA of an epoch goes, or (None) the finished one."""
        name = self.options().name
        return self.path / (f"{name}.safetensors" if epoch is None else f"{name}-{epoch:06d}.safetensors")

    def lora_path_at(self, step: int) -> Path:
        """Return where the LoRA of a run that was stopped at ``step`` goes."""
        return self.path / f"{self.options().name}-step{step:08d}.safetensors"

    def save_state(self, step: int, state: Mapping[str, Any], *, keep: int = 2) -> Path:
        """Save everything needed to go on after ``step``; the ``keep`` newest states stay."""
        path = self.states / f"step-{step:08d}.pt"
        partial = path.with_suffix(".tmp")
        with open(partial, "wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        for old in sorted(self.states.glob(STATE_PATTERN))[:-keep]:
            old.unlink()
        return path

    def newest_state(self) -> dict[str, Any] | None:
        """Return the newest state that can be read, or None before the first."""
        for path in sorted(self.states.glob(STATE_PATTERN), reverse=True):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except (RuntimeError, EOFError, OSError, ValueError):
                continue  # a disk that lost bytes: the state before it serves
        return None

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to the log."""
        with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Return the log's rows; a last line cut by a crash is left out."""
        path = self.path / "log.jsonl"
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def rewind_log(self, step: int) -> None:
        """Drop the rows after ``step``: they will be made again."""
        rows = [row for row in self.read_log() if row.get("step", 0) <= step]
        replace_file(self.path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def save_json(self, name: str, value: Any) -> None:
        """Save ``value`` as ``name`` in the folder."""
        replace_file(self.path / name, json.dumps(value, indent=1, ensure_ascii=False).encode())

    def read_json(self, name: str) -> Any:
        """Return what `save_json` saved, or None."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

"""A run is a folder: options, data fingerprint, log, samples, states and LoRA files of one training, together.

    NAME/options.json  data.json  log.jsonl  measures.jsonl  remarks.jsonl  states/step-00000500.state  samples/…
    NAME/NAME-000005.safetensors  NAME.safetensors

Every file but the log is written beside its place and renamed, so a run that is killed at any moment can be opened.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.atomic import cure_of, replace_file
from lib_lora.errors import FileError, InputError
from lib_lora.formats.names import ENDING
from lib_lora.sentences import packed, say, unpacked
from lib_lora.train.option_files import OLD_OPTIONS_FILE, OPTIONS_FILE, options_file, read_options, to_json
from lib_lora.train.options import TrainOptions
from lib_lora.train.states import state_path, states_of, write_state

STATE_SECONDS = 60.0
"""A state is saved at least this often, so that a power cut costs minutes at most."""
LOG, REMARKS, MEASURES = "log.jsonl", "remarks.jsonl", "measures.jsonl"
FIRST_FILES = (OPTIONS_FILE, OLD_OPTIONS_FILE, "status.json", "data.json", "memory.json", LOG, REMARKS, MEASURES)
"""What a run has before its first step, beside samples of the model as it was."""
BEGUN_FROM, REGULARIZATION, REGULARIZATION_HALF = "begun_from", "regularization", "regularization.part"
"""Folders of what a run keeps that others may take away: LoRA files, and pictures that the model drew."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @classmethod
    def fresh(cls, path: Path) -> RunFolder:
        """Return the folder of a new run, which `make` makes.

        Raises:
            InputError: there is a run already.
        """
        if options_file(path):
            raise InputError(
                "There is a run of this name already",
                where=str(path),
                cure="Resume it, or choose another name; nothing was changed.",
            )
        return cls(path)

    @classmethod
    def create(cls, path: Path, options: TrainOptions) -> RunFolder:
        """Make a new run folder with its options.

        Raises:
            InputError: there is a run already; FileError: the disk refuses.
        """
        run = cls.fresh(path)
        run.make(options)
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            InputError: it holds no run.
        """
        if options_file(path) is None:
            raise InputError(
                "This folder holds no run", where=str(path), cure="Choose the folder that has options.json."
            )
        return cls(path)

    def make(self, options: TrainOptions) -> None:
        """Make the folder, unless it is there; the options are written last, so a half made one is no run.

        Raises:
            FileError: the disk refuses.
        """
        for folder in (self.path, self.states, self.samples):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                what = say("The run's folder cannot be made ({reason})", reason=error)
                raise FileError(what, where=str(folder), cure=cure_of(error)) from error
        if options_file(self.path) is None:
            replace_file(self.path / OPTIONS_FILE, to_json(options).encode())

    def remove_unused(self) -> None:
        """Delete the folder of a run that made no step; anything but its own first files keeps it."""
        for path in (*(self.path / name for name in FIRST_FILES), *self.samples.glob(f"step-{0:08d}-*.png")):
            path.unlink(missing_ok=True)
        for path in self.events.glob("events.out.tfevents.*"):
            path.unlink()
        for copies in (BEGUN_FROM, REGULARIZATION, REGULARIZATION_HALF):
            shutil.rmtree(self.path / copies, ignore_errors=True)
        for inner in (self.states, self.samples, self.events, self.path):
            try:
                inner.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                logger.info("%s stays: %s", inner, error)

    @property
    def states(self) -> Path:
        """The folder of states."""
        return self.path / "states"

    @property
    def events(self) -> Path:
        """The folder of files for TensorBoard, where they are wished."""
        return self.path / "tensorboard"

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

    def own_loras(self) -> list[Path]:
        """Return the LoRA files that the run itself saved, the finished one last, the others by their time.

        What somebody made of them and put beside them, under another name, is none.
        """
        name = self.options().name
        own = re.compile(rf"{re.escape(name)}(?:-\d{{6,}}|-step\d{{8,}})?")
        found = [path for path in self.path.glob(f"*{ENDING}") if own.fullmatch(path.stem)]
        return sorted(found, key=lambda path: (path.stem == name, path.stat().st_mtime))

    def save_state(self, step: int, state: Mapping[str, Any], *, keep: int = 2) -> Path:
        """Save everything needed to go on after ``step``; the ``keep`` newest states stay.

        Raises:
            FileError: the disk refuses, or a number is not finite.
        """
        path = write_state(state_path(self.states, step), state)
        for old in states_of(self.states)[keep:]:
            try:
                old.unlink()
            except OSError as error:  # it only takes room
                logger.info("%s stays: %s", old, error)
        return path

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to the log; numbers that are none become null.

        Raises:
            FileError: the disk refuses; half a row is taken back.
        """
        self._append(LOG, {key: value if _finite(value) else None for key, value in row.items()})

    def read_log(self) -> list[dict[str, Any]]:
        """Return the log's rows; those that a crash or a disk damaged are left out."""
        return [row for row in self._rows(LOG) if isinstance(row.get("step"), int)]

    def keep_measures(self, row: Mapping[str, Any]) -> None:
        """Append what was measured after a step; of a step that was made twice the last counts.

        Raises:
            FileError: the disk refuses.
        """
        self._append(MEASURES, row)

    def measures(self) -> list[dict[str, Any]]:
        """Return what was measured, in the order of the steps; see `Measuring.row`."""
        rows = {row["step"]: row for row in self._rows(MEASURES) if _is_measured(row)}
        return [row for _, row in sorted(rows.items())]

    def keep_remark(self, step: int, text: str, *, about: str = "") -> None:
        """Keep what a person should know of the run, once; of all remarks ``about`` one thing the last one counts.

        Raises:
            FileError: the disk refuses.
        """
        if text not in self.remarks():
            self._append(REMARKS, {"step": step, "text": packed(text), **({"about": about} if about else {})})

    def remarks(self) -> tuple[str, ...]:
        """Return what a person should know of the run, in the order in which it was found."""
        rows = [(row.get("about"), unpacked(row.get("text"))) for row in self._rows(REMARKS)]
        return tuple({str(about or text): text for about, text in rows if text is not None}.values())

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self.path / name
        data = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            with open(path, "ab", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                try:
                    written = file.write(data)
                    if written != len(data):  # the rest found no room
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            what = say("The log cannot be written ({reason})", reason=error)
            raise FileError(what, where=str(path), cure=cure_of(error)) from error

    def _rows(self, name: str) -> list[dict[str, Any]]:
        path, rows = self.path / name, []
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def rewind_log(self, step: int) -> int:
        """Drop the rows after ``step``, which will be made again; return how many others were damaged and go too."""
        path, known = self.path / LOG, self.read_log()
        # The last line of a killed run is half written: no damage.
        whole = path.read_bytes().count(b"\n") if path.is_file() else 0
        rows = [row for row in known if row["step"] <= step]
        replace_file(self.path / LOG, "".join(json.dumps(row) + "\n" for row in rows).encode())
        measured = [row for row in self.measures() if row["step"] <= step]
        if measured:
            replace_file(self.path / MEASURES, "".join(json.dumps(row) + "\n" for row in measured).encode())
        else:
            (self.path / MEASURES).unlink(missing_ok=True)
        return max(0, whole - len(known))

    def save_json(self, name: str, value: Any) -> None:
        """Save ``value`` as ``name`` in the folder."""
        replace_file(self.path / name, json.dumps(value, indent=1, ensure_ascii=False).encode())

    def read_json(self, name: str) -> Any:
        """Return what `save_json` saved; None where it is not there or cannot be read."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read: %s", self.path / name, error)
            return None


def _is_measured(row: Mapping[str, Any]) -> bool:
    numbers = (row.get("steady"), row.get("drift"))
    return (
        isinstance(row.get("step"), int)
        and all(isinstance(one, float | int) for one in numbers)
        and isinstance(row.get("pictures"), dict)
    )


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)

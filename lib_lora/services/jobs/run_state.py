"""What is known of a run, in the server that works on it and in its folder after that server is gone."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import AtelierError, FileError
from lib_lora.sentences import Sentence, packed, quoted, unpacked
from lib_lora.services.jobs.job import DONE, FAILED, RUNNING, STOPPED, WAITING, Job
from lib_lora.train.option_files import options_file
from lib_lora.train.options import TrainOptions
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import states_of, step_of

if TYPE_CHECKING:
    from lib_lora.train.training import Training

PAUSED, INTERRUPTED = "paused", "interrupted"
RESUMABLE = (PAUSED, STOPPED, INTERRUPTED, FAILED)
STATUS = "status.json"
PAUSE, STOP = "pause", "stop"
"""What a person may wish of a run that has the model."""
WAIT, DRAW, PREPARE, SAMPLE = "wait", "draw", "prepare", "sample"
"""What a running run does when it makes no steps: it waits for the host's model, has it draw regularization pictures,
encodes pictures, renders samples."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunView:
    """One run as a page shows it.

    Attributes:
        name: of the run, its folder and its LoRA.
        state: ``waiting``, ``running``, ``paused``, ``stopped``, ``interrupted``, ``failed`` or ``done``.
        folder: where it lies.
        step, total: how far it is; 0 where it is not known yet.
        doing: what it does beside stepping (`WAIT`, `DRAW`, `PREPARE`, `SAMPLE`), else "".
        part: how many pictures of that are done, and of how many.
        wish: ``pause`` or ``stop`` where somebody asked for it and the step is not over yet.
        pace: seconds of a step, None while unknown.
        error: why it failed.
        lora: its file in the folder of LoRAs, once there is one.
        problems: what a person should know of its pictures and of its course.
        plan: how it goes, once that is known: see `Training.plan`.
        when: seconds since the epoch of its newest change.
    """

    name: str
    state: str
    folder: Path
    step: int = 0
    total: int = 0
    doing: str = ""
    part: tuple[int, int] = (0, 0)
    wish: str = ""
    pace: float | None = None
    error: AtelierError | None = None
    lora: Path | None = None
    problems: tuple[str, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    when: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest takes; None while unknown."""
        return None if self.pace is None or not self.total else self.pace * max(0, self.total - self.step)

    @property
    def report(self) -> Path | None:
        """The report page, where there is one."""
        path = self.folder / "report.html"
        return path if path.is_file() else None


@dataclass
class Run:
    """A run that this server works on or will. the job queue's thread changes it while it runs; others set ``wish``."""

    name: str
    folder: RunFolder
    options: TrainOptions
    language: str = "en"
    state: str = WAITING
    step: int = 0
    total: int = 0
    doing: str = ""
    part: tuple[int, int] = (0, 0)
    wish: str = ""
    error: AtelierError | None = None
    lora: Path | None = None
    training: Training | None = None
    job: Job | None = None
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    _last_pace: float | None = None
    _times: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=60))

    def begin_slice(self) -> None:
        """Begin a new measurement after a break: the break is no part of the pace."""
        self._last_pace = self.pace
        self._times.clear()

    def stepped(self, step: int, total: int) -> None:
        """Note that ``step`` is over."""
        self.step, self.total = step, total
        self._times.append((time.monotonic(), step))

    @property
    def pace(self) -> float | None:
        """Seconds of a step, of the newest ones; None before the third."""
        if len(self._times) < 3:
            return self._last_pace
        (first, step), (last, now) = self._times[0], self._times[-1]
        return (last - first) / (now - step) if now > step else None

    def set_state(self, state: str, *, error: AtelierError | None = None) -> None:
        """Change the state, here and in the folder."""
        self.state, self.error = state, error
        self.write()

    def write(self) -> None:
        """Write the state into the folder; a disk that refuses is only said in the log, the run's own saves raise."""
        row = {"state": self.state, "total": self.total, "language": self.language, "seconds": round(self.seconds, 1)}
        if self.plan:
            row["plan"] = dict(self.plan)
        if self.problems:
            row["problems"] = [packed(problem) for problem in self.problems]
        if self.lora is not None:
            row["lora"] = str(self.lora)
        if self.error is not None:
            row["error"] = [packed(text) for text in (self.error.what, self.error.where, self.error.cure)]
        try:
            self.folder.save_json(STATUS, row)
        except FileError as error:
            logger.warning("the state of %s was not noted: %s", self.name, error)

    def view(self) -> RunView:
        """Return the run as a page shows it."""
        return RunView(
            self.name,
            self.state,
            self.folder.path,
            step=self.step,
            total=self.total,
            doing=self.doing,
            part=self.part,
            wish=self.wish,
            pace=self.pace,
            error=self.error,
            lora=self.lora,
            problems=(*self.problems, *self.folder.remarks()),
            plan=self.plan,
            when=time.time(),
        )


def view_of_folder(path: Path) -> RunView | None:
    """Return a run that nobody here works on, from its folder; None where there is none."""
    if options_file(path) is None:
        return None
    noted = read_status(path)
    name, step = path.name, _newest_step(path)
    state = noted.get("state", "")
    if state in (RUNNING, WAITING):
        state = INTERRUPTED  # whoever worked on it is gone
    elif state not in (DONE, *RESUMABLE):
        # trained in the terminal, or a folder from elsewhere
        state = DONE if (path / f"{name}.safetensors").is_file() else STOPPED
    lora = Path(noted["lora"]) if isinstance(noted.get("lora"), str) else None
    parts = noted.get("error")
    error = None
    if isinstance(parts, list) and len(parts) == 3:
        what, where, cure = (unpacked(part) or "" for part in parts)
        error = AtelierError(_sentence(what), where=where, cure=_sentence(cure))
    total = noted.get("total", 0)
    kept = noted.get("problems")
    problems = [text for row in kept if (text := unpacked(row))] if isinstance(kept, list) else []
    return RunView(
        name,
        state,
        path,
        step=total if state == DONE and total else step,
        total=total if isinstance(total, int) else 0,
        error=error,
        lora=lora if lora is not None and lora.is_file() else None,
        problems=(*problems, *RunFolder(path).remarks()),
        plan=noted["plan"] if isinstance(noted.get("plan"), dict) else {},
        when=_changed(path),
    )


def _sentence(text: str) -> Sentence:
    """Return a text from the disk as a sentence; plain ones were kept by older versions."""
    return text if isinstance(text, Sentence) else quoted(text)


def read_status(path: Path) -> dict[str, Any]:
    """Return what `Run.write` wrote; empty where nothing can be read."""
    try:
        noted = json.loads((path / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _newest_step(path: Path) -> int:
    """Return the step of the newest state, 0 before the first."""
    newest = states_of(path / "states")[:1]
    return step_of(newest[0]) or 0 if newest else 0


def _changed(path: Path) -> float:
    times = [
        one.stat().st_mtime for one in (path / STATUS, path / "log.jsonl", options_file(path)) if one and one.exists()
    ]
    return max(times, default=0.0)

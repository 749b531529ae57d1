"""What every service works on: the host, the job queues and the folders that may be used."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora.atomic import folder_error, private_folder
from lib_lora.data.files import shown
from lib_lora.errors import InputError
from lib_lora.formats.names import ENDING, file_stem
from lib_lora.host.base import Host
from lib_lora.sentences import say
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.jobs.training import Trainings
from lib_lora.services.make.queued import Makes
from lib_lora.services.polled import PolledFragment
from lib_lora.services.run_report import write_run_report
from lib_lora.services.settings import Settings
from lib_lora.services.speed import Speed
from lib_lora.services.sweep.queued import Sweeps


@dataclass(frozen=True)
class Folders:
    """Where things lie, and below which address they are served.

    Attributes:
        confined: paths typed into the browser must stay inside these (a listening server).
        address: what stands before every address of this server in a browser, such as ``/sd``: a proxy takes it away.
        models: where the host keeps checkpoints; None: under ``data``.
    """

    data: Path
    loras: Path
    pictures: Path
    runs: Path
    outputs: Path
    more: tuple[Path, ...] = ()
    confined: bool = False
    address: str = ""
    models: Path | None = None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are listed from, and new ones are written; it may not be there yet."""
        return self.models or self.data / "checkpoints"

    @property
    def demo(self) -> Path:
        """Where the demo's report is: under the data folder, else beside it, where `run.py demo` puts it."""
        inside, beside = self.data / "demo", self.data.parent / "demo"
        return beside if (beside / "report.json").is_file() and not inside.is_dir() else inside

    @classmethod
    def under(cls, data: Path, *, more: tuple[Path, ...] = (), confined: bool = False) -> Folders:
        """Return (and make) the usual folders under one data folder."""
        data = data.resolve()
        made = cls(
            data, data / "loras", data / "pictures", data / "runs", data / "outputs", more=more, confined=confined
        )
        private_folder(made.data)
        for folder in (made.loras, made.pictures, made.runs, made.outputs):
            folder.mkdir(parents=True, exist_ok=True)
        return made

    @classmethod
    def of_host(
        cls,
        data: Path,
        *,
        loras: Path,
        outputs: Path,
        more: tuple[Path, ...] = (),
        confined: bool = False,
        address: str = "",
        models: Path | None = None,
    ) -> Folders:
        """Return (and make) the folders of a WebUI: its own for LoRAs and outputs, the rest under ``data``."""
        data = data.resolve()
        made = cls(data, loras, data / "pictures", data / "runs", outputs, more, confined, address, models)
        for folder in (made.data, made.loras, made.pictures, made.runs, made.outputs):
            _make(folder, private=folder == made.data)
        return made

    def lora(self, name: str) -> Path:
        """Return where a new LoRA of a name is saved.

        Raises:
            InputError: some system could not take the name, or the folder leaves those that this server may use.
        """
        return self.allowed(self.loras / f"{file_stem(name)}{ENDING}")

    def named(self, given: str) -> Path | None:
        """Return the folder that somebody names for new pictures, None for no name; a name alone lies under `pictures`.

        Raises:
            InputError: it leaves the folders that this server may use.
        """
        text = given.strip().strip("\"'")
        if not text:
            return None
        return self.allowed(self.pictures / text if Path(text).name == text else text, where=text)

    def allowed(self, path: str | Path, *, where: str = "") -> Path:
        """Return ``path``, absolute; a relative one is meant under the data folder.

        Raises:
            InputError: the server listens to others and the path leaves the folders that it may show; or no system has
                such a path: a name is too long, or holds a character that none may.
        """
        if not str(path).strip():
            raise InputError("No folder was given", where=where, cure="Give the path of a folder.")
        try:
            full = Path(path).expanduser()
            full = (full if full.is_absolute() else self.data / full).resolve()
            full.stat()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~nobody
            if not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG:
                cure = say("A name in it is too long, or holds a character that no path has.")
                raise InputError("This cannot be a path", where=shown(where or path)[:200], cure=cure) from error
        roots = (self.data, self.loras, self.pictures, self.runs, self.outputs, *self.more)
        if self.confined and not any(full.is_relative_to(root.resolve()) for root in roots):
            raise InputError(
                "This server may only use its own folders",
                where=where or str(path),
                cure="Put it under {folder}, or let the server answer this machine only.",
                folder=self.data,
            )
        return full


def _make(folder: Path, *, private: bool) -> None:
    try:
        private_folder(folder) if private else folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise folder_error(error, folder) from error


@dataclass
class Atelier:
    """What a server's panels and routes share; one for all of it, whatever the language or the number of tabs."""

    host: Host
    folders: Folders
    queue: JobQueue = field(default_factory=JobQueue)
    files: JobQueue = field(default_factory=JobQueue)
    """A second job queue for work on files only: it needs no model, so it does not wait for a training."""
    live: PolledFragment = field(default_factory=PolledFragment)
    upload_limit: int = 64 * 2**20
    """Largest single uploaded picture in bytes."""
    changing_model: bool = False
    """Whether the host may load another model while its page is open (a WebUI); the studio keeps one."""
    settings: Settings = field(init=False)
    trainings: Trainings = field(init=False)
    sweeps: Sweeps = field(init=False)
    makes: Makes = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(self.folders.data / "settings.json")
        self.sweeps = Sweeps(self)
        self.makes = Makes(self)
        self.trainings = Trainings(
            self.host,
            self.queue,
            runs=self.folders.runs,
            loras=self.folders.loras,
            on_finished=write_run_report,
            on_ended=self._ended,
            speed=Speed.of(self),
        )

    def _ended(self, run: str) -> None:
        """Let those go on that waited for a run."""
        self.sweeps.ended(run)
        self.makes.ended(run)

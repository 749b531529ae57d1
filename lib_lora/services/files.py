"""LoRA files by the names that tags use, and work on them in the second job queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.errors import InputError
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.services.jobs.job import Job

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

KIND = "workshop"


def names(atelier: Atelier) -> list[str]:
    """Return the LoRAs that tags can name, in the order of the alphabet."""
    return sorted(atelier.host.list_loras(), key=str.casefold)


def presets(atelier: Atelier) -> list[str]:
    """Return the names of presets; ALL is always one."""
    return list(dict.fromkeys(("ALL", *atelier.host.presets.names())))


def file_of(atelier: Atelier, name: str | None) -> Path:
    """Return the file behind a name of the list; the browser never gives a path.

    Raises:
        InputError: nothing is chosen, or the file went away.
    """
    if not name:
        raise InputError("No LoRA is chosen", cure="Choose one from the list.")
    found = atelier.host.list_loras().get(name)
    if found is None:
        raise InputError("This LoRA is not in the list any more", where=name, cure="Refresh the list.")
    return found


def check_own(atelier: Atelier, path: Path) -> None:
    """Refuse to change a file in place that a link brought in from outside of the LoRA folders.

    Raises:
        InputError: it lies elsewhere.
    """
    folders = (atelier.folders.loras, *atelier.host.lora_folders)
    if not any(path.resolve().is_relative_to(folder.resolve()) for folder in folders):
        cure = say("Save a new file instead.")
        raise InputError("The file is a link to a place outside the LoRA folders", where=str(path), cure=cure)


def submit(atelier: Atelier, title: str, work: Callable[[Progress], Any], *, kind: str = KIND) -> Job:
    """Queue work on files; ``work`` gets the channel for its progress and for the wish to stop it."""
    return atelier.files.submit(kind, title, work)


def stop(atelier: Atelier, kind: str = KIND) -> None:
    """Stop the newest work of a kind that has not ended."""
    for job in reversed(atelier.files.jobs(kind)):
        if not job.ended:
            job.stop()
            return

"""What the workshop's tabs share: the list of files, and work at the second desk with progress and a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.i18n.words import Words
from lib_lora.jobs.job import STOPPED, Job
from lib_lora.ui import compat
from lib_lora.ui.compat import update
from lib_lora.ui.context import Atelier
from lib_lora.ui.messages import error_html, follow, note_html, progress_html

KIND = "workshop"

Tell = Callable[[int, int, str], None]


class Stopped(Exception):
    """Somebody pressed Cancel; work that has finished a part may catch it and return that part."""


def names(atelier: Atelier) -> list[str]:
    """Return the LoRAs that tags can name, in the order of the alphabet."""
    return sorted(atelier.host.list_loras(), key=str.casefold)


def presets(atelier: Atelier) -> list[str]:
    """Return the names of presets; ALL is always one."""
    return list(dict.fromkeys(("ALL", *atelier.host.presets.names())))


def take_file(chosen: str, own: str | None) -> Any:
    """Return the update of a tab's list when it is opened: a file chosen in another tab, where none is chosen here."""
    return update(value=chosen) if chosen and not own else update()


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
        cure = "Save a new file instead."
        raise InputError("The file is a link to a place outside the LoRA folders", where=str(path), cure=cure)


def choices(atelier: Atelier, value: str | None = None) -> dict[str, Any]:
    """Return the update of a dropdown of LoRAs; a value that is gone is dropped.

    One that is there is not sent back: somebody may have chosen another meanwhile.
    """
    found = names(atelier)
    return compat.update(choices=found) if value in found else compat.update(choices=found, value=None)


def submit(atelier: Atelier, title: str, work: Callable[[Tell], Any], *, kind: str = KIND) -> Job:
    """Queue work on files; ``work`` gets a function to tell its progress, which ends it after a wish to stop."""

    def guarded(job: Job) -> Any:
        def tell(done: int, total: int, text: str = "") -> None:
            job.update(done, total, text)
            if job.stopped:
                raise Stopped

        try:
            return work(tell)
        except Stopped:
            return None

    return atelier.files.submit(kind, title, guarded)


def shown(atelier: Atelier, words: Words, job: Job) -> Iterator[str]:
    """Yield the job's progress as HTML while it goes on, and its error or its stop when it has ended so."""
    for now in follow(job):
        if not now.ended:
            yield progress_html(now, atelier.files, words)
    if job.error is not None:
        yield error_html(job.error, words)
    elif job.state == STOPPED:
        yield note_html(words("workshop.stopped"))


def stop(atelier: Atelier, kind: str = KIND) -> None:
    """Stop the newest work of a kind that has not ended."""
    for job in reversed(atelier.files.jobs(kind)):
        if not job.ended:
            job.stop()
            return


def cancel_button(atelier: Atelier, words: Words, ident: str, *, kind: str = KIND) -> Any:
    """Build a button that stops the newest work of a kind; whoever orders the work shows and hides it."""
    button = compat.gr.Button(
        words("workshop.cancel"), variant="stop", scale=0, min_width=120, visible=False, elem_id=ident
    )
    button.click(lambda: stop(atelier, kind), None, None, queue=False, **compat.event_kw())
    return button


def tried(words: Words, work: Callable[[], Any]) -> tuple[Any, str]:
    """Return what quick work returns and no message, or None and its error as HTML."""
    try:
        return work(), ""
    except AtelierError as error:
        return None, error_html(error, words)

"""What the workshop's tabs share: the list of files, a work's progress and its Cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.i18n.words import Words
from lib_lora.services import files
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import STOPPED, Job
from lib_lora.ui import compat
from lib_lora.ui.messages import error_html, follow, note_html, progress_html


def choices(atelier: Atelier, value: str | None = None) -> dict[str, Any]:
    """Return the update of a dropdown of LoRAs; a value that is gone is dropped."""
    return listed(files.names(atelier), value)


def listed(found: Sequence[str], value: Any, kept: Any = None) -> dict[str, Any]:
    """Return the update of a dropdown's list; where its value is gone, ``kept`` takes its place.

    One that is there is not sent back, nor is none: somebody may have chosen another meanwhile.
    """
    several = value if isinstance(value, list) else [value] if value else []
    return compat.update(choices=found, **({"value": kept} if set(several) - set(found) else {}))


def shown(atelier: Atelier, words: Words, job: Job) -> Iterator[str]:
    """Yield the job's progress as HTML while it goes on, and its error or its stop when it has ended so."""
    for now in follow(job):
        if not now.ended:
            yield progress_html(now, atelier.files, words)
    if job.error is not None:
        yield error_html(job.error, words)
    elif job.state == STOPPED:
        yield note_html(words("workshop.stopped"))


def cancel_button(atelier: Atelier, words: Words, ident: str, *, kind: str = files.KIND) -> Any:
    """Build a button that stops the newest work of a kind; whoever orders the work shows and hides it."""
    button = compat.gr.Button(
        words("workshop.cancel"), variant="stop", scale=0, min_width=120, visible=False, elem_id=ident
    )
    button.click(lambda: files.stop(atelier, kind), None, None, queue=False, **compat.event_kw())
    return button


def line(label: str, ident: str, *, scale: int, **more: str) -> Any:
    """Build a field of one line; ``more`` is its ``info`` or ``placeholder``."""
    return compat.gr.Textbox("", label=label, max_lines=1, scale=scale, elem_id=f"atelier_workshop_{ident}", **more)


def tried(words: Words, work: Callable[[], Any]) -> tuple[Any, str]:
    """Return what quick work returns and no message, or None and its error as HTML."""
    try:
        return work(), ""
    except AtelierError as error:
        return None, error_html(error, words)


def choose_first(atelier: Atelier, words: Words) -> str:
    """Return what stands where no file is chosen yet."""
    return note_html(words("workshop.choose_file", folder=atelier.folders.loras))

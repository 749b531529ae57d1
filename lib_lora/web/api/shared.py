"""What the routes share: a LoRA by its name, a job as JSON, and a place to save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.blocks.near import near_names
from lib_lora.formats.saving import check_target
from lib_lora.i18n.error_words import error_row, sentence_in_words
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import WAITING, Job
from lib_lora.web.api.call import NotFound


def lora_file(atelier: Atelier, name: str) -> Path:
    """Return the file of a LoRA that a tag could name; a request never gives a path.

    Raises:
        NotFound: no LoRA has this name; the nearest are named.
    """
    listed = atelier.host.list_loras()
    if name in listed:
        return listed[name]
    near = near_names(name, listed)
    cure = say("Did you mean: {names}?", names=near) if near else say("GET /lora-atelier/v1/loras lists them.")
    raise NotFound("There is no LoRA of this name", where=name[:200], cure=cure)


def new_file(atelier: Atelier, name: str, *, overwrite: bool) -> Path:
    """Return where a new LoRA is saved, in the folder of LoRAs; asked before the work, so that none is in vain.

    Raises:
        InputError: some system could not take the name. FileError: it is taken, or the folder cannot be used.
    """
    target = atelier.folders.lora(name)
    check_target(target, overwrite=overwrite)
    return target


def job_row(atelier: Atelier, job: Job, language: str) -> dict[str, Any]:
    """Return a job as JSON."""
    queue = atelier.files if job in atelier.files.jobs() else atelier.queue
    before = queue.ahead_of(job) if job.state == WAITING else []
    return {
        "job": job.number,
        "kind": job.kind,
        "title": job.title,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "doing": sentence_in_words(job.text, language),
        "seconds": round(job.seconds, 1),
        "seconds_left": None if job.seconds_left is None else round(job.seconds_left, 1),
        "waits_for": before[0].title if before else None,
        "error": error_row(job.error, language) if job.error else None,
    }

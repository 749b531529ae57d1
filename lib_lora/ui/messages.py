"""Messages in the page: errors, notes and progress as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from lib_lora.errors import AtelierError
from lib_lora.i18n.error_words import in_words, sentence_in_words
from lib_lora.i18n.words import Words, duration
from lib_lora.services.jobs.job import WAITING, Job
from lib_lora.services.jobs.job_queue import JobQueue

PAUSE = 0.25
"""Seconds between two pictures of a job's state, at least."""
BEAT = 2.0
"""Seconds between them at most."""


def error_html(error: AtelierError, words: Words) -> str:
    """Return an error as HTML: what, where, the cure."""
    what, where, cure = in_words(error, words.language)
    place = f'<span class="atelier-where">{escape(where)}</span>' if where else ""
    advice = f'<span class="atelier-cure">{escape(cure)}</span>' if cure else ""
    return f'<div class="atelier-message atelier-error" role="alert"><b>{escape(what)}</b>{place}{advice}</div>'


def note_html(text: str, *, kind: str = "note") -> str:
    """Return a sentence as HTML; ``kind`` is ``note``, ``good`` or ``warning``."""
    return f'<div class="atelier-message atelier-{kind}" role="status">{escape(text)}</div>'


def notes_html(notes: Iterable[str], words: Words, *, kind: str = "note") -> str:
    """Return notes of the core as HTML, in the page's language."""
    return "".join(note_html(sentence_in_words(note, words.language), kind=kind) for note in notes)


def errors_html(errors: Iterable[AtelierError], words: Words) -> str:
    """Return several errors as HTML, one below the other."""
    return "".join(error_html(error, words) for error in errors)


def progress_html(job: Job, queue: JobQueue, words: Words) -> str:
    """Return a job's progress as HTML: bar, what it does, time left; or what it waits for; or its error."""
    if job.error is not None:
        return error_html(job.error, words)
    if job.state == WAITING:
        before = queue.ahead_of(job)
        text = words("common.waits_for", title=before[0].title) if before else words("common.starts")
        return note_html(text)
    if job.ended:
        return ""
    share = job.done / job.total if job.total else 0
    left = job.seconds_left
    rest = words("common.left", time=duration(left, words)) if left is not None else ""
    count = f"{job.done} / {job.total}" if job.total else ""
    doing = sentence_in_words(job.text, words.language)
    return bar_html(share, " · ".join(part for part in (doing, count, rest) if part))


def bar_html(share: float, label: str) -> str:
    """Return a progress bar as HTML; ``share`` is 0 to 1, ``label`` plain text."""
    return (
        f'<div class="atelier-progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * share:.0f}"><div class="atelier-bar" style="width:{100 * share:.1f}%"></div>'
        f"<span>{escape(label)}</span></div>"
    )


def follow(job: Job) -> Iterator[Job]:
    """Yield the job whenever it changed, a few times a second at most, and once more when it has ended.

    Where nothing changes it is yielded all the same from time to time: only by sending does the server notice that the
    page was closed, and lets go of it.
    """
    seen = -1
    while True:
        seen = job.version
        yield job
        if job.ended and job.version == seen:
            return
        job.wait(BEAT, newer_than=seen)
        if not job.ended:
            job.wait(PAUSE)

"""Work that takes its time: how far it is, its stop, its result."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from lib_lora.errors import InputError
from lib_lora.i18n.error_words import error_row, sentence_in_words
from lib_lora.options import Option
from lib_lora.services.analysis_order import Found, answer
from lib_lora.services.atelier import Atelier
from lib_lora.services.block_tiers import tier_answer
from lib_lora.services.fitted import Fitted, told
from lib_lora.services.jobs.job import STOPPED, Job
from lib_lora.services.plan_pictures import PlanPictures
from lib_lora.web.api.call import Call, NotFound, Route
from lib_lora.web.api.shared import job_row
from lib_lora.web.routes import file_url

LONGEST_WAIT = 30.0
"""Seconds that a request may wait for a change; a proxy cuts longer ones."""


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of jobs."""
    number = Option("job", int, "Number of the job.", low=1, high=10**9)

    def listed(call: Call) -> Any:
        rows = [
            job_row(atelier, job, call.language) for queue in (atelier.queue, atelier.files) for job in queue.jobs()
        ]
        return {"jobs": sorted(rows, key=lambda row: row["job"])}

    def status(call: Call) -> Any:
        job = find(atelier, call["job"])
        if call["wait"]:
            job.wait(call["wait"])
        return job_row(atelier, job, call.language)

    def stop(call: Call) -> Any:
        job = find(atelier, call["job"])
        job.stop()
        return job_row(atelier, job, call.language)

    def result(call: Call) -> Any:
        job = find(atelier, call["job"])
        if job.error is not None:
            raise job.error
        found = job.result if job.ended else job.partial
        if found is None and job.state == STOPPED:
            raise InputError(
                "The work was stopped before it had a result", where=str(job.number), cure="Order it anew."
            )
        if found is None:
            raise InputError("There is no result yet", where=str(job.number), cure="Ask again when it has ended.")
        return {**job_row(atelier, job, call.language), "result": result_row(atelier, found, call.language)}

    wait = Option("wait", float, "Seconds to wait for the end of the job.", 0.0, low=0, high=LONGEST_WAIT)
    return (
        Route("GET", "/jobs", listed, "List the jobs of this server."),
        Route("GET", "/jobs/{job}", status, "Say how far a job is.", (number, wait)),
        Route("POST", "/jobs/{job}/stop", stop, "Stop a job at its next step; what is done is kept.", (number,)),
        Route("GET", "/jobs/{job}/result", result, "Return what a job has made, or made so far.", (number,)),
    )


def find(atelier: Atelier, number: int) -> Job:
    """Return the job of a number.

    Raises:
        NotFound: it was never there, or it ended long ago.
    """
    for job in (*atelier.queue.jobs(), *atelier.files.jobs()):
        if job.number == number:
            return job
    raise NotFound("There is no job of this number", where=str(number), cure="GET /lora-atelier/v1/jobs lists them.")


def result_row(atelier: Atelier, found: Any, language: str) -> Any:
    """Return a job's result as JSON: an analysis or a plan with its numbers and files, else what the job says."""
    if isinstance(found, Found):
        return analysis_row(atelier, found, language)
    if isinstance(found, PlanPictures):
        return plan_row(atelier, found, language)
    if isinstance(found, Fitted):
        files = _links(atelier, found.files)
        return {**told(found, partial(sentence_in_words, language=language)), "files": files}
    return found if isinstance(found, dict) else {"text": str(found)}


def _links(atelier: Atelier, files: Iterable[Path]) -> list[dict[str, Any]]:
    return [{"name": path.name, "url": file_url(atelier.folders, path)} for path in files]


def plan_row(atelier: Atelier, found: PlanPictures, language: str) -> dict[str, Any]:
    """Return a plan's pictures as JSON: each variant with its names, its changed block, its weights and files."""
    variants = [
        {
            "names": [each.name for each in one.picture.variants],
            "block": one.picture.block,
            "value": one.picture.value,
            "weights": one.picture.weights.format(),
            "changed": one.changed,
            "files": _links(atelier, one.files),
        }
        for one in found.shown
    ]
    return {
        "lora": found.order.lora,
        "variants": variants,
        "grids": _links(atelier, found.grids),
        "notes": [sentence_in_words(note, language) for note in found.notes],
        "problems": [error_row(each, language) for each in found.problems],
    }


def analysis_row(atelier: Atelier, found: Found, language: str) -> dict[str, Any]:
    """Return an analysis as JSON: for each range the blocks with their percentages, and where the files are."""
    ranges = [
        {
            **answer(analysis),
            "notes": [sentence_in_words(note, language) for note in analysis.notes],
            "problems": [error_row(each, language) for each in analysis.problems],
        }
        for analysis in found.analyses
    ]
    files = _links(atelier, found.files)
    tiers = tier_answer(found.tiers, atelier.host.model.family)
    for result, row in zip(found.tiers, tiers["tiers"], strict=True):
        row["notes"] = [sentence_in_words(note, language) for note in result.notes]
        row["sentences"] = {one.block: sentence_in_words(one.said, language) for one in result.rows}
    return {"ranges": ranges, **tiers, "files": files}

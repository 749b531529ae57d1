"""A folder of pictures over HTTP: what a training would find in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.data.edit_captions import tag_counts
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import look
from lib_lora.services.run_plan import sized
from lib_lora.train.options import TrainOptions
from lib_lora.train.training_set import fit_remarks
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.captions import ordered

LOOKED = options_of(TrainOptions, only=("images", "resolution"))


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of folders of pictures."""

    def looked(call: Call) -> Any:
        def work(place: Path, job: Job) -> dict[str, Any]:
            return look_row(atelier, place, call["resolution"], job, call.language)

        return ordered(atelier, call, work)

    return (Route("POST", "/pictures/look", looked, "Look at a folder as a training would.", LOOKED, status=202),)


def look_row(atelier: Atelier, place: Path, resolution: int, job: Job, language: str) -> dict[str, Any]:
    """Return what is in a folder as JSON: what would be trained, and every remark on the rest."""
    model = atelier.host.model
    found = look(place, model, job)
    remarks = (*found.scan.remarks, *fit_remarks(model, sized(model, place, "character", resolution), found.scan))
    return {
        "folder": str(place),
        "pictures": len(found.scan.train),
        "captions": sum(bool(text) for text in found.captions.values()),
        "tags": dict(tag_counts(found.captions.values())),
        "unread": dict(found.scan.unread),
        "problems": [sentence_in_words(text, language) for text in remarks],
    }

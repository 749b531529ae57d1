"""A folder of pictures over HTTP: what is in it, and one tag in all of its captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib_lora.data.edit_captions import CaptionHistory, plan_changes, tag_counts
from lib_lora.data.files import Problem
from lib_lora.data.tag_lines import split_tags, with_tag, with_tag_replaced, without_tag
from lib_lora.errors import InputError
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.services.atelier import Atelier
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import KIND, look
from lib_lora.services.run_plan import sized
from lib_lora.train.material import fit_remarks
from lib_lora.web.api.call import REQUIRED, Call, Field, Route
from lib_lora.web.api.shared import job_row
from lib_lora.web.api.training import picture_folder

ACTS: dict[str, Callable[[str, str, str], str]] = {
    "add": lambda text, tag, by: with_tag(text, tag),
    "remove": lambda text, tag, by: without_tag(text, tag),
    "replace": with_tag_replaced,
}


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of folders of pictures."""
    images = Field("images", str, "folder of pictures; a relative one is meant under the data folder", REQUIRED)
    side = Field("resolution", int, "training size in px; 0 is the model's own", 0, low=0, high=4096)
    act = Field("act", str, "what is done", REQUIRED, choices=tuple(ACTS))
    tag = Field("tag", str, "one tag, or several with commas between", REQUIRED)
    by = Field("by", str, "what replaces it", "")

    def ordered(call: Call, work: Callable[[Path, Job], dict[str, Any]]) -> Any:
        place = picture_folder(atelier, call["images"], "images")
        job = atelier.files.submit(KIND, place.name, lambda job: work(place, job))
        return job_row(atelier, job, call.language)

    def looked(call: Call) -> Any:
        return ordered(call, lambda place, job: look_row(atelier, place, call["resolution"], job, call.language))

    def tagged(call: Call) -> Any:
        if not split_tags(call["tag"]):
            raise InputError("No tag was given", where="tag", cure="Give it a value.")
        if call["act"] == "replace" and not split_tags(call["by"]):
            raise InputError("The new tag is empty", where="by", cure="Give it a value.")
        return ordered(call, lambda place, job: tag_row(atelier, place, call, job))

    def undone(call: Call) -> Any:
        done, kept = history(atelier, picture_folder(atelier, call["images"], "images")).undo()
        return {"changed": done, "kept": [path.name for path in kept]}

    return (
        Route("POST", "/pictures/look", looked, "Look at a folder as a training would.", (images, side), status=202),
        Route("POST", "/pictures/tag", tagged, "Change a tag in all captions.", (images, act, tag, by), status=202),
        Route("POST", "/pictures/undo", undone, "Take the newest change of captions back.", (images,)),
    )


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


def tag_row(atelier: Atelier, place: Path, call: Call, job: Job) -> dict[str, Any]:
    """Change a tag in all captions of a folder; return how many changed, and which could not."""
    problems: list[Problem] = []
    pictures = look(place, atelier.host.model, job).pictures
    changes = plan_changes(pictures, lambda text: ACTS[call["act"]](text, call["tag"], call["by"]), problems)
    done = history(atelier, place).apply(changes, problems)
    return {"changed": done, "problems": [sentence_in_words(str(one), call.language) for one in problems]}


def history(atelier: Atelier, place: Path) -> CaptionHistory:
    """Return the changes of a folder's captions, the same as the panel's."""
    return CaptionHistory(atelier.folders.data / "undo", place)

"""A folder of pictures over HTTP: what is in it, what is odd, and one tag in those captions that are meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib_lora.data.caption_filter import caption_filter
from lib_lora.data.edit_captions import tag_counts
from lib_lora.data.lint import lint
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Captions, Foreseen, TagChange
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import KIND, look
from lib_lora.services.run_plan import sized
from lib_lora.train.options import TrainOptions
from lib_lora.train.training_set import fit_remarks
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.shared import job_row
from lib_lora.web.api.training import picture_folder

IMAGES, LOOKED = options_of(TrainOptions, only=("images",)), options_of(TrainOptions, only=("images", "resolution"))
LINTED = options_of(TrainOptions, only=("images", "resolution", "trigger", "kind"))
TAG = options_of(TagChange)
ONLY = options_of(TagChange, only=("only",))


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of folders of pictures."""

    def ordered(call: Call, work: Callable[[Path, Job], dict[str, Any]]) -> Any:
        place = picture_folder(atelier, call["images"], "images")
        job = atelier.files.submit(KIND, place.name, lambda job: work(place, job))
        return job_row(atelier, job, call.language)

    def looked(call: Call) -> Any:
        return ordered(call, lambda place, job: look_row(atelier, place, call["resolution"], job, call.language))

    def tagged(call: Call) -> Any:
        change = TagChange(**call.of(TAG))

        def work(place: Path, job: Job) -> dict[str, Any]:
            captions, pictures = Captions(atelier.folders.data, place), look(place, atelier.host.model, job).pictures
            made = captions.foresee(pictures, change) if change.preview else captions.change(pictures, change)
            row: dict[str, Any] = {"changed": made.count}
            if isinstance(made, Foreseen):
                rows = [{"file": one.path.name, "before": one.before, "after": one.after} for one in made.first]
                row = {"would_change": made.count, "first": rows}
            return row | {"problems": [sentence_in_words(one.sentence, call.language) for one in made.problems]}

        return ordered(call, work)

    def linted(call: Call) -> Any:
        def work(place: Path, job: Job) -> dict[str, Any]:
            found, model = look(place, atelier.host.model, job), atelier.host.model
            side = call["resolution"] or model.native_side
            made = lint(
                found.scan.train,
                found.captions,
                trigger=call["trigger"],
                side=side,
                is_style=call["kind"] == "style",
                progress=job,
            )
            return {
                "everywhere": dict(made.everywhere),
                "alike": [[path.name for path in group] for group in made.alike],
                "small": [path.name for path in made.small],
                "remarks": [sentence_in_words(text, call.language) for text in made.sentences],
            }

        return ordered(call, work)

    def listed(call: Call) -> Any:
        caption_filter(call["only"])

        def work(place: Path, job: Job) -> dict[str, Any]:
            found = look(place, atelier.host.model, job, only=call["only"])
            captions = {path.relative_to(place).as_posix(): found.captions[path] for path in found.chosen}
            return {"captions": captions, "tags": dict(tag_counts(captions.values())), "all": len(found.pictures)}

        return ordered(call, work)

    def undone(call: Call) -> Any:
        captions = Captions(atelier.folders.data, picture_folder(atelier, call["images"], "images"))
        done, kept = captions.undo()
        return {"changed": done, "kept": [path.name for path in kept], "left": captions.depth}

    return (
        Route("POST", "/pictures/look", looked, "Look at a folder as a training would.", LOOKED, status=202),
        Route("POST", "/pictures/captions", listed, "List and count captions.", IMAGES + ONLY, status=202),
        Route("POST", "/pictures/lint", linted, "Say what is odd about pictures and captions.", LINTED, status=202),
        Route("POST", "/pictures/tag", tagged, "Change a tag in all captions.", IMAGES + TAG, status=202),
        Route("POST", "/pictures/undo", undone, "Take the newest change of captions back.", IMAGES),
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

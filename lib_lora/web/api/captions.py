"""Captions of a folder over HTTP: listed, changed, taken back, and what is odd about them and their pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib_lora.data.caption_filter import caption_filter
from lib_lora.data.edit_captions import tag_counts
from lib_lora.data.lint import lint
from lib_lora.data.name_rules import FILE, name_rules
from lib_lora.errors import InputError
from lib_lora.i18n.error_words import error_row, sentence_in_words
from lib_lora.options import Option, options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Captions, Changed, Foreseen, TagChange, kept_rules, save_rules
from lib_lora.services.given_options import picture_folder
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import KIND, look
from lib_lora.train.options import TrainOptions
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.shared import job_row

IMAGES = options_of(TrainOptions, only=("images",))
LINTED = options_of(TrainOptions, only=("images", "resolution", "trigger", "kind"))
TAG = options_of(TagChange)
RULES = (Option("text", str, "The whole file of rules."),)
ONLY = options_of(TagChange, only=("only",))


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of captions."""
    made = CaptionRoutes(atelier)
    return (
        Route("POST", "/pictures/captions", made.listed, "List and count captions.", IMAGES + ONLY, status=202),
        Route(
            "POST", "/pictures/lint", made.linted, "Say what is odd about pictures and captions.", LINTED, status=202
        ),
        Route("POST", "/pictures/tag", made.tagged, "Change a tag in all captions.", IMAGES + TAG, status=202),
        Route("POST", "/pictures/undo", made.undone, "Take the newest change of captions back.", IMAGES),
        Route("GET", "/pictures/rules", made.rules, "Return the rules for file names."),
        Route("POST", "/pictures/rules", made.rules_saved, "Check and save the rules for file names.", RULES),
    )


class CaptionRoutes:
    """The answers, each a few lines over the service."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier

    def listed(self, call: Call) -> Any:
        """Order the captions that a filter takes, and the counts of their tags."""
        caption_filter(call["only"])

        def work(place: Path, job: Job) -> dict[str, Any]:
            found = look(place, self._atelier.host.model, job, only=call["only"])
            captions = {path.relative_to(place).as_posix(): found.captions[path] for path in found.chosen}
            return {"captions": captions, "tags": dict(tag_counts(captions.values())), "all": len(found.pictures)}

        return ordered(self._atelier, call, work)

    def linted(self, call: Call) -> Any:
        """Order a look at what is odd."""

        def work(place: Path, job: Job) -> dict[str, Any]:
            model = self._atelier.host.model
            found, side = look(place, model, job), call["resolution"] or model.native_side
            made = lint(
                found.train,
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

        return ordered(self._atelier, call, work)

    def tagged(self, call: Call) -> Any:
        """Order a change of a tag, or a preview of one."""
        change = TagChange(**call.of(TAG))

        def work(place: Path, job: Job) -> dict[str, Any]:
            captions, pictures = self._captions(place), look(place, self._atelier.host.model, job).pictures
            made = captions.foresee(pictures, change) if change.preview else captions.change(pictures, change)
            return told(made, call)

        return ordered(self._atelier, call, work)

    def undone(self, call: Call) -> Any:
        """Take the newest change back at once."""
        captions = self._captions(picture_folder(self._atelier, call["images"], "images"))
        done, kept = captions.undo()
        return {"changed": done, "kept": [path.name for path in kept], "left": captions.depth}

    def rules(self, call: Call) -> Any:
        """Return the file of rules, and its lists; where it cannot be right, why."""
        data = self._atelier.folders.data
        text = kept_rules(data)
        try:
            return {"file": FILE, "text": text, "rules": asdict(name_rules(data)), "problem": None}
        except InputError as error:
            return {"file": FILE, "text": text, "rules": None, "problem": error_row(error, call.language)}

    def rules_saved(self, call: Call) -> Any:
        """Save the file of rules, if it can be right."""
        save_rules(self._atelier.folders.data, call["text"])
        return self.rules(call)

    def _captions(self, place: Path) -> Captions:
        return Captions(self._atelier.folders.data, place)


def told(made: Changed | Foreseen, call: Call) -> dict[str, Any]:
    """Return what a change did, or would do, as JSON."""
    row: dict[str, Any] = {"changed": made.count}
    if isinstance(made, Foreseen):
        rows = [{"file": one.path.name, "before": one.before, "after": one.after} for one in made.first]
        row = {"would_change": made.count, "first": rows}
    return row | {"problems": [sentence_in_words(one.sentence, call.language) for one in made.problems]}


def ordered(atelier: Atelier, call: Call, work: Callable[[Path, Job], dict[str, Any]]) -> Any:
    """Queue work on the folder that a request names; return its job as JSON."""
    place = picture_folder(atelier, call["images"], "images")
    job = atelier.files.submit(KIND, place.name, lambda job: work(place, job))
    return job_row(atelier, job, call.language)

"""Orders for a finished LoRA over HTTP: pictures and a word in, a file and its report out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from lib_lora.i18n.error_words import error_row, sentence_in_words
from lib_lora.i18n.words import Words
from lib_lora.options import Option, options_of
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.make.course import line
from lib_lora.services.make.options import MakeOptions
from lib_lora.services.make.queued import MakeView, allowed
from lib_lora.services.make.record import FILE, LABEL, PROOF, REPORT
from lib_lora.web.api.call import Call, NotFound, Route
from lib_lora.web.api.shared import job_row
from lib_lora.web.api.training import run_row
from lib_lora.web.routes import report_url

MAKE = options_of(MakeOptions)
UNTIL_PLAN = Option("until_plan", bool, "Stop after the plan, which `continue` may change.", False)
CROPS = Option("crops", bool, "Train the proposed crops as well, where the training has not begun.", False)
STEPS = Option("steps", int, "Other steps of the training, where it has not begun; 0 as planned.", 0, low=0)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of these orders."""
    name = Option("name", str, "Name of the LoRA that is made.")
    makes = atelier.makes

    def start(call: Call) -> Any:
        options = allowed(atelier, MakeOptions(**call.of(MAKE)))
        view = makes.start(options, language=call.language, until_plan=call["until_plan"])
        return row(atelier, view, call.language)

    def listed(call: Call) -> Any:
        return {
            "makes": [row(atelier, view, call.language) for view in makes.listed()],
            "problems": [error_row(error, call.language) for error in makes.damaged()],
        }

    def acted(act: Callable[[Call], MakeView]) -> Callable[[Call], Any]:
        def answer(call: Call) -> Any:
            if not (atelier.folders.runs / call["name"] / FILE).is_file():
                cure = say("GET /lora-atelier/v1/makes lists them.")
                raise NotFound("No LoRA of this name is being made", where=call["name"][:200], cure=cure)
            return row(atelier, act(call), call.language)

        return answer

    def go_on(call: Call) -> MakeView:
        return makes.go_on(call["name"], **{key: call[key] for key in ("steps", "crops") if call[key]})

    one = acted(lambda call: makes.find(call["name"]))
    stop = acted(lambda call: makes.stop(call["name"]))
    changed = (name, STEPS, CROPS)
    does = "Make a LoRA: train, choose, find block weights, bake, compress, label, prove."
    return (
        Route("POST", "/makes", start, does, (*MAKE, UNTIL_PLAN), 202),
        Route("GET", "/makes", listed, "List the LoRAs that are being made, and those that were."),
        Route("GET", "/makes/{name}", one, "Say how far one is, what its steps decided, and its numbers.", (name,)),
        Route("POST", "/makes/{name}/continue", acted(go_on), "Go on from the step that is next.", changed, 202),
        Route("POST", "/makes/{name}/stop", stop, "Stop it; what is done is kept.", (name,)),
    )


def row(atelier: Atelier, view: MakeView, language: str) -> dict[str, Any]:
    """Return an order as JSON."""
    made = view.make
    told = {
        step: {
            "seconds": made.seconds.get(step),
            "said": [sentence_in_words(text, language) for text in made.notes(step)],
        }
        for step in made.results
    }
    page = made.folder / "report.html"
    return {
        "name": made.name,
        "options": asdict(made.options),
        "next": made.next_step,
        "active": view.active,
        "steps": told,
        "job": job_row(atelier, view.job, language) if view.job is not None else None,
        "run": run_row(atelier, view.run, language) if view.run is not None else None,
        "course": _course_row(view, language),
        "error": error_row(view.error, language) if view.error else None,
        "numbers": made.results.get(PROOF, {}).get("numbers"),
        "lora": made.results.get(LABEL, {}).get("lora"),
        "report": report_url(atelier.folders, page, language) if REPORT in made.results else None,
    }


def _course_row(view: MakeView, language: str) -> dict[str, Any] | None:
    """Return how far all steps are and how long the rest takes, while something of it works or waits."""
    if not view.active:
        return None
    course = view.course
    return {
        "step": course.number,
        "of": course.of,
        "share": round(course.share, 4),
        "seconds_left": None if course.left is None else round(course.left, 1),
        "said": line(course, Words(language)),
    }

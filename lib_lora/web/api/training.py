"""Training over HTTP: the same queue of runs as the panel's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from lib_lora.formats.names import file_stem
from lib_lora.i18n.error_words import error_row, sentence_in_words
from lib_lora.options import Option, options_of
from lib_lora.services import rate_probe
from lib_lora.services.atelier import Atelier
from lib_lora.services.finish import FinishOptions, finish
from lib_lora.services.given_options import run_options
from lib_lora.services.jobs.run_state import RunView
from lib_lora.train.options import TrainOptions
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.sd_scripts.read import flattened, imported
from lib_lora.train.sd_scripts.write import sd_scripts_command
from lib_lora.web.api.call import Call, NotFound, Route
from lib_lora.web.api.shared import job_row
from lib_lora.web.routes import file_url

FINISH = (
    Option("name", str, "Name of the run."),
    *options_of(FinishOptions),
    Option("file", str, "One of the run's files; without it the finished or newest one.", ""),
    Option("out", str, "Name of the new file; without it one is made.", ""),
)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of training."""
    name = Option("name", str, "Name of the run.")

    def start(call: Call) -> Any:
        options = run_options(atelier, call.given)
        return run_row(atelier, atelier.trainings.start(options, language=call.language), call.language)

    def listed(call: Call) -> Any:
        queue, past = atelier.trainings.queue(), atelier.trainings.past()
        rows = {"queue": queue, "past": past}
        return {key: [run_row(atelier, view, call.language) for view in views] for key, views in rows.items()}

    def one(call: Call) -> Any:
        view = found(atelier, call["name"])
        said = atelier.trainings.logs.remarks(view.folder)
        row = run_row(atelier, replace(view, problems=(*view.problems, *said)), call.language)
        return row | {"measures": RunFolder(view.folder).measures()}

    def acted(act: Callable[[Call], Any]) -> Callable[[Call], Any]:
        def answer(call: Call) -> Any:
            found(atelier, call["name"])
            act(call)
            return one(call) if any(v.name == call["name"] for v in all_runs(atelier)) else {"name": call["name"]}

        return answer

    runs = atelier.trainings
    acts: dict[str, tuple[Callable[[Call], Any], str]] = {
        "pause": (lambda call: runs.pause(call["name"]), "Save the run's state after the present step, and wait."),
        "resume": (
            lambda call: runs.resume(call["name"], language=call.language),
            "Go on with a run that was paused, stopped, interrupted or failed.",
        ),
        "stop": (lambda call: runs.stop(call["name"]), "End a run; its state and its LoRA as it is now are saved."),
        "remove": (lambda call: runs.remove(call["name"]), "Take a waiting run out of the queue."),
    }

    def command(call: Call) -> Any:
        options, family = run_options(atelier, call["options"]), atelier.host.model.family
        told = sd_scripts_command(options, family=family)
        return {"command": told.text, "remarks": [sentence_in_words(note, call.language) for note in told.notes]}

    probe, finished = partial(probed, atelier), partial(finish_run, atelier)
    does = "Bake block weights into a run's LoRA, or compress it, as a new file; returns the job."
    chosen = Option("options", dict, "Options of a training, as for POST /train.")
    settings = Option("settings", dict, "Settings of sd-scripts or of the kohya_ss GUI, as a table.")
    return (
        Route("POST", "/train/import", read, "Read settings of sd-scripts or kohya_ss as options.", (settings,)),
        Route("POST", "/train/sd-scripts", command, "Show sd-scripts' command for options.", (chosen,)),
        Route("GET", "/train", listed, "List the runs: the queue, and those of the past."),
        Route("POST", "/train", start, "Start a run.", options_of(TrainOptions), status=202),
        Route("POST", "/train/probe", probe, "Make about 30 steps that leave nothing.", (chosen,), status=202),
        Route("GET", "/train/{name}", one, "Say how far a run is.", (name,)),
        Route("POST", "/train/{name}/finish", finished, does, FINISH, status=202),
        *(Route("POST", f"/train/{{name}}/{verb}", acted(act), text, (name,)) for verb, (act, text) in acts.items()),
    )


def read(call: Call) -> Any:
    """Return settings of sd-scripts or kohya_ss as options."""
    made = imported(flattened(call["settings"]))
    notes = [sentence_in_words(note, call.language) for note in made.notes]
    return {"options": made.values, "remarks": notes, "not_needed": made.not_needed}


def finish_run(atelier: Atelier, call: Call) -> Any:
    """Queue the making of a run's file to hand on; return its job."""
    found(atelier, call["name"])
    order = FinishOptions(call["blocks"], call["dim"])
    out = file_stem(call["out"]) if call["out"] else ""
    job, target = finish(atelier, call["name"], order, file=call["file"], out=out)
    return {**job_row(atelier, job, call.language), "lora": target.stem}


def probed(atelier: Atelier, call: Call) -> Any:
    """Queue a probe of a run that is not begun; return its job."""
    return job_row(atelier, rate_probe.submit(atelier, run_options(atelier, call["options"])), call.language)


def all_runs(atelier: Atelier) -> list[RunView]:
    """Return every run: the queue's first."""
    return [*atelier.trainings.queue(), *atelier.trainings.past()]


def found(atelier: Atelier, name: str) -> RunView:
    """Return the run of a name.

    Raises:
        NotFound: there is none.
    """
    for view in all_runs(atelier):
        if view.name == name:
            return view
    raise NotFound("There is no run of this name", where=name[:200], cure="GET /lora-atelier/v1/train lists them.")


def run_row(atelier: Atelier, view: RunView, language: str) -> dict[str, Any]:
    """Return a run as JSON."""
    error = error_row(view.error, language) if view.error else None
    left = view.seconds_left
    return {
        "name": view.name,
        "state": view.state,
        "step": view.step,
        "total": view.total,
        "doing": view.doing,
        "wish": view.wish,
        "seconds_a_step": view.pace,
        "seconds_left": None if left is None else round(left, 1),
        "lora": view.lora.stem if view.lora else None,
        "folder": str(view.folder),
        "report": file_url(atelier.folders, view.report) if view.report else None,
        "plan": dict(view.plan),
        "problems": [sentence_in_words(text, language) for text in view.problems],
        "error": error,
    }

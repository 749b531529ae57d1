"""Sweeps over HTTP: runs that differ in a few options, and their comparison."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lib_lora.errors import InputError
from lib_lora.i18n.error_words import error_row
from lib_lora.options import Option
from lib_lora.sentences import say
from lib_lora.services.atelier import Atelier
from lib_lora.services.given_options import run_options
from lib_lora.services.sweep.compared import read_comparison
from lib_lora.services.sweep.facts import NOT_BEGUN
from lib_lora.services.sweep.queued import SweepView
from lib_lora.train.sweep_table import SweepTable, values_text
from lib_lora.web.api.call import Call, NotFound, Route
from lib_lora.web.api.shared import job_row
from lib_lora.web.api.training import run_row
from lib_lora.web.routes import file_url

START = (
    Option("options", dict, "Options that all runs share, as for POST /train; the sweep is called after its name."),
    Option("values", dict, "Option -> list of its values; every value meets every other one.", {}),
    Option("rows", list, "Instead of values: a table of options for each run.", ()),
    Option(
        "prompt", str, "Prompt of the comparison's pictures; without it the first sample prompt, or the trigger.", ""
    ),
)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of sweeps."""
    name = Option("name", str, "Name of the sweep.")
    sweeps, read = atelier.sweeps, partial(run_options, atelier)

    def start(call: Call) -> Any:
        options = dict(call["options"])
        made = sweeps.start(
            str(options.get("name") or ""),
            table_of(call),
            options,
            read,
            prompt=call["prompt"],
            language=call.language,
        )
        return row(atelier, made, call.language)

    def listed(call: Call) -> Any:
        return {
            "sweeps": [row(atelier, view, call.language) for view in sweeps.listed()],
            "problems": [error_row(error, call.language) for error in sweeps.damaged()],
        }

    def acted(act: Callable[[Call], Any]) -> Callable[[Call], Any]:
        def answer(call: Call) -> Any:
            found(atelier, call["name"])
            act(call)
            return one(call)

        return answer

    def one(call: Call) -> Any:
        view = found(atelier, call["name"])
        return row(atelier, view, call.language) | {"comparison": read_comparison(view.sweep, call.language)}

    def compare(call: Call) -> Any:
        found(atelier, call["name"])
        return job_row(atelier, sweeps.compare(call["name"]), call.language)

    go_on = acted(lambda call: sweeps.go_on(call["name"], read, language=call.language))
    stop = acted(lambda call: sweeps.stop(call["name"]))
    return (
        Route("POST", "/sweeps", start, "Check a run for every combination of values, and queue them.", START),
        Route("GET", "/sweeps", listed, "List the sweeps with their runs."),
        Route("GET", "/sweeps/{name}", one, "Say how far a sweep is, and what was compared.", (name,)),
        Route("POST", "/sweeps/{name}/continue", go_on, "Queue what is not finished; begun runs go on.", (name,)),
        Route("POST", "/sweeps/{name}/stop", stop, "Stop a sweep; what is done is kept.", (name,)),
        Route("POST", "/sweeps/{name}/compare", compare, "Compare what is finished; returns the job.", (name,), 202),
    )


def table_of(call: Call) -> SweepTable:
    """Return the table of a request.

    Raises:
        InputError: it gives values and rows, or what stands there cannot be right.
    """
    if call["values"] and call["rows"]:
        raise InputError("A sweep has values or rows, not both", where="values, rows", cure="Give one of them.")
    return SweepTable.listed(call["rows"]) if call["rows"] else SweepTable.product(call["values"])


def found(atelier: Atelier, name: str) -> SweepView:
    """Return the sweep of a name.

    Raises:
        NotFound: there is none. InputError: its record cannot be read.
    """
    if name not in atelier.sweeps.names():
        cure = say("GET /lora-atelier/v1/sweeps lists them.")
        raise NotFound("There is no sweep of this name", where=name[:200], cure=cure)
    return atelier.sweeps.find(name)


def row(atelier: Atelier, view: SweepView, language: str) -> dict[str, Any]:
    """Return a sweep as JSON."""
    runs = []
    for run, values in view.sweep.runs.items():
        kept = view.runs[run]
        state = run_row(atelier, kept, language) if kept is not None else {"name": run, "state": NOT_BEGUN}
        runs.append({"values": dict(values), "shown": values_text(values), **state})
    return {
        "name": view.sweep.name,
        "prompt": view.sweep.prompt,
        "finished": view.finished,
        "active": view.active,
        "runs": runs,
        "files": {kind: file_url(atelier.folders, path) for kind, path in view.files(language).items()},
    }

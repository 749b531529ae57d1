"""Found block weights over HTTP: an order becomes a job; the same order goes on where it was stopped."""

from __future__ import annotations

from typing import Any

from lib_lora.analysis.fit.options import FitOptions
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.fit_order import allowed, submit
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.shared import job_row, lora_file

FIT = options_of(FitOptions)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the route of the search; status, stop and result are those of its job."""

    def fit(call: Call) -> Any:
        options = FitOptions(**call.of(FIT))
        lora_file(atelier, options.lora)
        options = allowed(options, atelier)
        return job_row(atelier, submit(atelier, options, call.language), call.language)

    does = "Find the block weights that keep a LoRA's subject and change the model least; returns the job that does it."
    return (Route("POST", "/fit", fit, does, FIT, status=202),)

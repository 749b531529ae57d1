"""The Effective Block Analyzer over HTTP: an order becomes a job of the job queue, as in the panel."""

from __future__ import annotations

from typing import Any

from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.host.base import GenerateRequest
from lib_lora.options import options_of
from lib_lora.services import analysis_order
from lib_lora.services.atelier import Atelier
from lib_lora.services.file_facts import FileFacts
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.shared import job_row

PICTURE = options_of(GenerateRequest, but=("batch",))
ANALYSIS = options_of(AnalyzeOptions)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the analyzer's route; status, stop and result are those of its job."""
    facts = FileFacts.confined(atelier)

    def analyze(call: Call) -> Any:
        request, options = GenerateRequest(**call.of(PICTURE)), AnalyzeOptions(**call.of(ANALYSIS))
        order = analysis_order.order_of(request, options, atelier.host, facts)
        job = analysis_order.submit(atelier, order, order.request.prompt)
        return {**job_row(atelier, job, call.language), "pictures": order.pictures}

    does = "Analyze which block of a LoRA does what; returns the job that does it."
    return (Route("POST", "/analyze", analyze, does, PICTURE + ANALYSIS, status=202),)

"""Plans of block weights over HTTP, as texts and as pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lib_lora.formats.contents import contents_of
from lib_lora.host.base import GenerateRequest
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.options import Option, options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.block_plan import Planned, PlanOptions, answer, plan_of
from lib_lora.services.plan_pictures import SEEDS, order_of, submit
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.pictures import PICTURE
from lib_lora.web.api.shared import job_row, lora_file

LORA = Option("lora", str, "Name of a LoRA: blocks in which it has nothing are fixed.", "")
PLAN = (*options_of(PlanOptions), LORA)
DRAWN = (*options_of(PlanOptions), Option("lora", str, "Name of the LoRA that is drawn."), *PICTURE, SEEDS)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of plans."""

    def planned(call: Call) -> Planned:
        options, present = PlanOptions(**call.of(options_of(PlanOptions))), None
        if call["lora"]:
            contents = contents_of(lora_file(atelier, call["lora"]))
            present = contents.blocks()
            options = options if options.family else replace(options, family=contents.family)
        return plan_of(options, atelier.host.presets, present=present)

    def plan(call: Call) -> Any:
        found = planned(call)
        return {**answer(found), "notes": [sentence_in_words(note, call.language) for note in found.notes]}

    def draw(call: Call) -> Any:
        request = GenerateRequest(**call.of(PICTURE))
        order = order_of(call["lora"], planned(call).plan, request, atelier.host, seeds=call["seeds"])
        job = submit(atelier, order, order.request.prompt)
        return {**job_row(atelier, job, call.language), "pictures": order.pictures}

    drawn = "Render the variants of a plan, each vector once; returns the job."
    return (
        Route("POST", "/plan", plan, "Return which block weights to try next, as texts and numbers.", PLAN),
        Route("POST", "/plan/pictures", draw, drawn, DRAWN, status=202),
    )

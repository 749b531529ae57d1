"""Plans of block weights over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lib_lora.formats.contents import contents_of
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.options import Option, options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.block_plan import PlanOptions, answer, plan_of
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.shared import lora_file

LORA = Option("lora", str, "Name of a LoRA: blocks in which it has nothing are fixed.", "")
PLAN = (*options_of(PlanOptions), LORA)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of plans."""

    def plan(call: Call) -> Any:
        options, present = PlanOptions(**call.of(options_of(PlanOptions))), None
        if call["lora"]:
            contents = contents_of(lora_file(atelier, call["lora"]))
            present = contents.blocks()
            options = options if options.family else replace(options, family=contents.family)
        planned = plan_of(options, atelier.host.presets, present=present)
        return {**answer(planned), "notes": [sentence_in_words(note, call.language) for note in planned.notes]}

    return (Route("POST", "/plan", plan, "Return which block weights to try next, as texts and numbers.", PLAN),)

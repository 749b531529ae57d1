"""Work on a folder of pictures with models of the user's, over HTTP: tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.data.caption_filter import caption_filter
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Captions
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import look
from lib_lora.services.tagging import TaggerOptions, tag_pictures
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.captions import IMAGES, ONLY, ordered, told

TAGGER = options_of(TaggerOptions)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes."""

    def tagged(call: Call) -> Any:
        options = TaggerOptions(**call.of(TAGGER))
        caption_filter(call["only"])
        tagger = atelier.folders.allowed(options.tagger, where="tagger")

        def work(place: Path, job: Job) -> dict[str, Any]:
            chosen = look(place, atelier.host.model, job, only=call["only"]).chosen
            return told(tag_pictures(Captions(atelier.folders.data, place), chosen, tagger, options, job), call)

        return ordered(atelier, call, work)

    return (
        Route(
            "POST",
            "/pictures/tagger",
            tagged,
            "Write captions with a WD14 tagger on this machine.",
            IMAGES + TAGGER + ONLY,
            status=202,
        ),
    )

"""Work on a folder of pictures with what the server's machine has, over HTTP: tags, masks, crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.data.caption_filter import caption_filter
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.options import options_of
from lib_lora.services.atelier import Atelier
from lib_lora.services.captions import Captions
from lib_lora.services.crops import CropOptions, propose, write_crops
from lib_lora.services.cutouts import CutoutOptions, cut_out, target_of
from lib_lora.services.given_options import picture_folder
from lib_lora.services.jobs.job import Job
from lib_lora.services.picture_folder import Found, look
from lib_lora.services.tagging import TaggerOptions, tag_pictures
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.captions import IMAGES, ONLY, ordered, told

TAGGER = options_of(TaggerOptions)
CUTOUTS = options_of(CutoutOptions)
CROPS = options_of(CropOptions)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes."""
    made = PictureTools(atelier)
    rows = (
        ("/pictures/tagger", made.tagged, "Write captions with a WD14 tagger on this machine.", TAGGER),
        ("/pictures/cutouts", made.cut, "Make masks or transparent copies with a model on this machine.", CUTOUTS),
        ("/pictures/crops", made.cropped, "Propose crops around faces, or write them.", CROPS),
    )
    return tuple(
        Route("POST", path, answer, summary, IMAGES + options + ONLY, status=202)
        for path, answer, summary, options in rows
    )


class PictureTools:
    """The answers, each a few lines over a service."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier

    def tagged(self, call: Call) -> Any:
        """Order tags."""
        options = TaggerOptions(**call.of(TAGGER))
        tagger = self._atelier.folders.allowed(options.tagger, where="tagger")

        def work(place: Path, job: Job) -> dict[str, Any]:
            captions = Captions(self._atelier.folders.data, place)
            return told(tag_pictures(captions, self._look(place, call, job).chosen, tagger, options, job), call)

        return self._ordered(call, work)

    def cut(self, call: Call) -> Any:
        """Order masks or transparent copies."""
        options, folders = CutoutOptions(**call.of(CUTOUTS)), self._atelier.folders
        cutter = folders.allowed(options.cutter, where="cutter")
        source = picture_folder(self._atelier, call["images"], "images")
        target = folders.allowed(target_of(source, folders.named(options.target), options.makes), where="target")

        def work(place: Path, job: Job) -> dict[str, Any]:
            found = self._look(place, call, job)
            trained = [one.path for one in found.scan.folders]
            made = cut_out(place, found.chosen, cutter, target, options, job, trained=trained)
            return {
                "folder": str(made.folder),
                "form": made.form,
                "written": [path.relative_to(target).as_posix() for path in made.written],
                "kept": made.kept,
                "nothing": [path.name for path in made.nothing],
                "problems": [sentence_in_words(one.sentence, call.language) for one in made.problems],
            }

        return self._ordered(call, work)

    def cropped(self, call: Call) -> Any:
        """Order crops."""
        options = CropOptions(**call.of(CROPS))
        target = self._atelier.folders.named(options.target)

        def work(place: Path, job: Job) -> dict[str, Any]:
            found = propose(self._look(place, call, job).chosen, options, job)
            made = write_crops(found.crops, target, options, job) if target is not None else None
            problems = [*found.problems, *(made.problems if made else ())]
            return {
                "proposed": [
                    {"name": one.name, "picture": one.picture.name, "box": list(one.box), "sure": one.sure}
                    for one in found.crops
                ],
                "faceless": [path.name for path in found.faceless],
                "small": [path.name for path in found.small],
                "whole": [path.name for path in found.whole],
                "written": [path.name for path in made.written] if made else [],
                "kept": made.kept if made else 0,
                "problems": [sentence_in_words(one.sentence, call.language) for one in problems],
            }

        return self._ordered(call, work)

    def _look(self, place: Path, call: Call, job: Job) -> Found:
        return look(place, self._atelier.host.model, job, only=call["only"])

    def _ordered(self, call: Call, work: Any) -> Any:
        caption_filter(call["only"])
        return ordered(self._atelier, call, work)

"""LoRA files in other forms, in parts and side by side over HTTP; every file is named as a tag names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib_lora.analysis.file_comparison import compare_files
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.options import OVERWRITE, Option, options_of
from lib_lora.progress import Progress
from lib_lora.services import conversion, portions
from lib_lora.services.atelier import Atelier
from lib_lora.services.conversion import ConvertOptions
from lib_lora.services.files import submit
from lib_lora.services.portions import PruneOptions, SplitOptions
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.labels import LORA
from lib_lora.web.api.shared import job_row, lora_file, new_file

OUT = Option("out", str, "Name of the new file; without it one is made.", "")
CONVERT = (LORA, *options_of(ConvertOptions), OUT, OVERWRITE)
PRUNE = (LORA, *options_of(PruneOptions), OUT, OVERWRITE)
START = Option("out", str, "What the names of the new files begin with; without it the file's own name.", "")
SPLIT = (LORA, *options_of(SplitOptions), START, OVERWRITE)
COMPARE = (LORA, Option("other", str, "Name of the LoRA that it is compared with."))


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of files in other forms and parts."""
    works = _Works(atelier)
    return (
        Route(
            "POST", "/convert", works.convert, "Write a file in another program's form; returns the job.", CONVERT, 202
        ),
        Route("POST", "/prune", works.prune, "Write a file without some modules; returns the job.", PRUNE, 202),
        Route("POST", "/split", works.split, "Write a file as several; returns the job.", SPLIT, 202),
        Route("GET", "/compare", works.compare, "Say block by block how two files differ.", COMPARE),
    )


class _Works:
    """What the routes answer."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier

    def _target(self, call: Call, name: str) -> Path:
        return new_file(self._atelier, call["out"] or name, overwrite=call["overwrite"])

    def convert(self, call: Call) -> Any:
        """Queue a conversion."""
        path, options = lora_file(self._atelier, call["lora"]), ConvertOptions(**call.of(options_of(ConvertOptions)))
        target = self._target(
            call, conversion.proposed_name(path, options, taken=list(self._atelier.host.list_loras()))
        )
        conversion.check(path, options, target, overwrite=call["overwrite"])

        def work(progress: Progress) -> dict[str, Any]:
            made, saved = conversion.write(path, options, target, overwrite=call["overwrite"], progress=progress)
            return {
                "lora": saved.stem,
                "modules": len(made.lora.adapters),
                "bytes": saved.stat().st_size,
                "bytes_before": path.stat().st_size,
                "largest_error": made.largest,
                "blocks": made.report.by_block(),
                "notes": [sentence_in_words(note, call.language) for note in made.notes],
            }

        job = submit(self._atelier, target.stem, work)
        return {**job_row(self._atelier, job, call.language), "lora": target.stem}

    def prune(self, call: Call) -> Any:
        """Queue what takes modules out of a file."""
        path, options = lora_file(self._atelier, call["lora"]), PruneOptions(**call.of(options_of(PruneOptions)))
        target = self._target(call, portions.proposed_name(path, taken=list(self._atelier.host.list_loras())))
        portions.check(path, target, overwrite=call["overwrite"])

        def work(progress: Progress) -> dict[str, Any]:
            made = portions.prune(path, options, target, overwrite=call["overwrite"], progress=progress)
            return {
                "lora": made.path.stem,
                "modules": made.modules,
                "gone": dict(made.gone),
                "extras_gone": made.extras,
                "bytes": made.bytes_after,
                "bytes_before": made.bytes_before,
                "notes": [sentence_in_words(note, call.language) for note in made.notes],
            }

        job = submit(self._atelier, target.stem, work)
        return {**job_row(self._atelier, job, call.language), "lora": target.stem}

    def split(self, call: Call) -> Any:
        """Queue what makes several files of one."""
        path, options = lora_file(self._atelier, call["lora"]), SplitOptions(**call.of(options_of(SplitOptions)))
        stem = self._target(call, call["out"]).stem if call["out"] else ""

        def work(progress: Progress) -> dict[str, Any]:
            pieces, notes = portions.split(
                path, options, self._atelier.folders.loras, stem=stem, overwrite=call["overwrite"], progress=progress
            )
            told = [sentence_in_words(note, call.language) for note in notes]
            return {"files": [piece_row(piece) for piece in pieces], "notes": told}

        return job_row(self._atelier, submit(self._atelier, stem or path.stem, work), call.language)

    def compare(self, call: Call) -> Any:
        """Compare two files."""
        found = compare_files(lora_file(self._atelier, call["lora"]), lora_file(self._atelier, call["other"]))
        told = [sentence_in_words(note, call.language) for note in found.notes]
        return {"lora": call["lora"], "other": call["other"], **found.as_dict(), "notes": told}


def piece_row(piece: portions.Piece) -> dict[str, Any]:
    """Return a file that another was split into as JSON."""
    return {
        "lora": piece.path.stem,
        "part": piece.label,
        "blocks": dict(piece.blocks),
        "extras": piece.extras,
        "bytes": piece.size,
    }

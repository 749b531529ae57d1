"""Between LoRAs and checkpoints over HTTP; every file is named as the lists name it."""

from __future__ import annotations

from typing import Any

from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.merge.extract_spec import DEFAULT_RULE, ExtractOptions, ExtractSpec
from lib_lora.merge.make import Made
from lib_lora.options import OVERWRITE, Option, options_of
from lib_lora.progress import Progress
from lib_lora.services import checkpoints, extract, into_checkpoint
from lib_lora.services.atelier import Atelier
from lib_lora.services.files import submit
from lib_lora.services.into_checkpoint import IntoSpec, Written
from lib_lora.web.api.call import Call, Route
from lib_lora.web.api.files import given_rule, ingredients, made_row
from lib_lora.web.api.shared import job_row, new_file

EXTRACT = (
    Option("tuned", str, "Name of the checkpoint that learned something."),
    Option("original", str, "Name of the one that it was tuned from."),
    Option("out", str, "Name of the new LoRA; without it one is made.", ""),
    Option("compress", dict, "Rule of ranks: an object with kind, value, cap, parts; without it rank 32.", None),
    *options_of(ExtractOptions),
    OVERWRITE,
)
INTO = (
    Option("checkpoint", str, "Name of the checkpoint."),
    Option("loras", list, "What becomes part of it: names, or objects with the fields of a row."),
    Option("out", str, "Name of the new checkpoint; without it one is made.", ""),
    OVERWRITE,
)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of checkpoints."""

    def names(call: Call) -> Any:
        return {"checkpoints": list(checkpoints.listed(atelier))}

    def extracted(call: Call) -> Any:
        order = extract_order(atelier, call)
        taken = tuple(atelier.host.list_loras())
        target = new_file(
            atelier, call["out"] or extract.proposed_name(order, taken=taken), overwrite=call["overwrite"]
        )
        extract.check(order, target, overwrite=call["overwrite"])

        def work(progress: Progress) -> dict[str, Any]:
            made, saved = extract.write(order, target, overwrite=call["overwrite"], progress=progress)
            row = made_row(made, saved.stem, saved.stat().st_size, call.language)
            return {**row, "unchanged": row.pop("dropped"), **_whole(made)}

        job = submit(atelier, target.stem, work)
        return {**job_row(atelier, job, call.language), "lora": target.stem}

    def into(call: Call) -> Any:
        rows, notes = ingredients(atelier, call)
        order = IntoSpec(checkpoints.file_of(atelier, call["checkpoint"]), tuple(rows))
        name = call["out"] or into_checkpoint.proposed_name(order, taken=list(checkpoints.listed(atelier)))
        target = checkpoints.new_file(atelier, name)
        into_checkpoint.check(order, target, overwrite=call["overwrite"])
        presets = atelier.host.presets

        def work(progress: Progress) -> dict[str, Any]:
            written = into_checkpoint.write(order, target, presets, overwrite=call["overwrite"], progress=progress)
            row = written_row(written, call.language)
            return {**row, "notes": [*(sentence_in_words(note, call.language) for note in notes), *row["notes"]]}

        job = submit(atelier, target.stem, work)
        return {**job_row(atelier, job, call.language), "checkpoint": target.stem}

    does = "Make a LoRA of the difference between two checkpoints; returns the job."
    writes = "Write LoRAs into a copy of a checkpoint; returns the job."
    return (
        Route("GET", "/checkpoints", names, "List the checkpoints that can be named."),
        Route("POST", "/extract", extracted, does, EXTRACT, status=202),
        Route("POST", "/into-checkpoint", into, writes, INTO, status=202),
    )


def extract_order(atelier: Atelier, call: Call) -> ExtractSpec:
    """Return the order that a request describes.

    Raises:
        InputError: a field cannot be right.
    """
    tuned, original = (checkpoints.file_of(atelier, call[name]) for name in ("tuned", "original"))
    rule = given_rule(call) or DEFAULT_RULE
    return ExtractSpec(tuned=tuned, original=original, rule=rule, **call.of(options_of(ExtractOptions)))


def _whole(made: Made) -> dict[str, float]:
    return {"energy_kept": made.report.energy_kept, "relative_error": made.report.relative_error}


def written_row(written: Written, language: str) -> dict[str, Any]:
    """Return a new checkpoint as JSON: name, size, hash, a row a block, what fits no layer, and the remarks."""
    return {
        "checkpoint": written.path.stem,
        "bytes": written.report.bytes_after,
        "sha256": written.sha256,
        "tensors_changed": len(written.plan.changes),
        "blocks": written.report.by_block(),
        "unmatched": {name: list(keys) for name, keys in written.plan.unmatched.items()},
        "notes": [f"{name}: {sentence_in_words(note, language)}" for name, note in written.plan.notes],
    }

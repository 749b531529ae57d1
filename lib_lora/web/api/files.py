"""LoRA files over HTTP: bake, inspect, label; every file is named as a tag names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lib_lora.formats.editing import plan
from lib_lora.formats.inspection import inspection
from lib_lora.formats.metadata import FIELDS
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.merge.rank import RULES, RankRule, RuleOptions
from lib_lora.merge.spec import Ingredient, Made, MergeSpec, proposed_name
from lib_lora.options import OVERWRITE, Option, options_of
from lib_lora.progress import Progress
from lib_lora.services import labels, merge
from lib_lora.services.atelier import Atelier
from lib_lora.services.files import submit
from lib_lora.services.labels import LabelOptions
from lib_lora.web.api.call import Call, Route, read
from lib_lora.web.api.shared import job_row, lora_file, new_file

LORA = Option("lora", str, "Name of the LoRA, as in a tag.")
ROW = (LORA, *options_of(Ingredient))
COMPRESS = (
    Option("kind", str, "The rule of ranks.", choices=tuple(RULES)),
    Option("value", float, "Its number."),
    *options_of(RuleOptions, only=("cap",)),
)
BAKE = (
    Option("loras", list, "One to bake, several to add: names, or objects with the fields of a row."),
    Option("out", str, "Name of the new file; without it one is made.", ""),
    Option("compress", dict, "Rule of ranks: an object with kind, value, cap; without it nothing is lost.", None),
    *options_of(MergeSpec),
    OVERWRITE,
)
TEXTS = options_of(LabelOptions, only=FIELDS)
LABEL = (
    LORA,
    Option("fields", dict, f"{', '.join(FIELDS)}; an empty text removes.", {}),
    *options_of(LabelOptions, but=FIELDS),
    Option("out", str, "Name of a copy; without it the file itself is changed, with a backup beside it.", ""),
    Option("preview", bool, "Only say what would change.", False),
    OVERWRITE,
)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of files."""

    def bake(call: Call) -> Any:
        order = order_of(atelier, call)
        taken = list(atelier.host.list_loras())
        target = new_file(atelier, call["out"] or proposed_name(order, taken=taken), overwrite=call["overwrite"])
        merge.check(order, target, overwrite=call["overwrite"])
        presets, model = atelier.host.presets, atelier.host.model

        def work(progress: Progress) -> dict[str, Any]:
            made, saved = merge.write(
                order, target, presets, model=model, overwrite=call["overwrite"], progress=progress
            )
            return made_row(made, saved.stem, saved.stat().st_size, call.language)

        job = submit(atelier, target.stem, work)
        return {**job_row(atelier, job, call.language), "lora": target.stem}

    def inspect(call: Call) -> Any:
        path = lora_file(atelier, call["lora"])
        found = inspection(path)
        told = [sentence_in_words(note, call.language) for note in found["notes"]]
        return {"lora": call["lora"], **found, "notes": told}

    def label(call: Call) -> Any:
        path, options = lora_file(atelier, call["lora"]), label_of(atelier, call)
        if call["preview"]:
            return {"lora": call["lora"], "changes": [asdict(change) for change in plan(path, options.edit())]}
        target = new_file(atelier, call["out"], overwrite=call["overwrite"]) if call["out"] else None
        labels.check(path, target, atelier, overwrite=call["overwrite"])
        made = labels.write(path, options.edit(), target=target, overwrite=call["overwrite"])
        backup = made.backup.name if made.backup else None
        rows = [asdict(change) for change in made.changes]
        return {"lora": made.path.stem, "changes": rows, "fields": made.fields, "backup": backup}

    does = "Write block weights into a file, or add LoRAs; returns the job."
    return (
        Route("POST", "/bake", bake, does, BAKE, status=202),
        Route("GET", "/inspect", inspect, "Say what is in a file: blocks, ranks, metadata, hashes.", (LORA,)),
        Route("POST", "/label", label, "Write title, trigger words and so on into a file or a copy.", LABEL),
    )


def order_of(atelier: Atelier, call: Call) -> MergeSpec:
    """Return the order for a new file that a request describes.

    Raises:
        InputError: a field cannot be right.
    """
    rows, rule = ingredients(atelier, call), None
    if call["compress"] is not None:
        rule = RankRule(**read(COMPRESS, call["compress"], where="compress"))
    return MergeSpec(rows, rule, call["precision"])


def ingredients(atelier: Atelier, call: Call) -> tuple[Ingredient, ...]:
    """Return the rows that a request's ``loras`` describe.

    Raises:
        InputError: a field cannot be right.
    """
    rows = []
    for given in call["loras"]:
        values = read(ROW, given if isinstance(given, Mapping) else {"lora": given}, where="loras")
        rows.append(Ingredient(lora_file(atelier, values.pop("lora")), **values))
    return tuple(rows)


def label_of(atelier: Atelier, call: Call) -> LabelOptions:
    """Return what is to change; a cover is a picture in the folders of the server.

    Raises:
        InputError: nothing, a field that is not there or no text, or a path that is not allowed.
    """
    given = {one.name: call[one.name] for one in options_of(LabelOptions, but=FIELDS)}
    if given["cover"]:
        given["cover"] = str(atelier.folders.allowed(given["cover"], where="cover"))
    options = LabelOptions(**read(TEXTS, call["fields"], where="fields"), **given)
    if not call["out"]:
        options.check()
    return options


def made_row(made: Made, name: str, size: int, language: str) -> dict[str, Any]:
    """Return what a bake has made as JSON: name, size, a row a block, and what was assumed on reading its files."""
    return {
        "lora": name,
        "bytes": size,
        "bytes_before": made.report.bytes_before,
        "dropped": len(made.report.dropped),
        "blocks": made.report.by_block(),
        "used": [{"lora": source, "multipliers": table} for source, table in made.used],
        "notes": [f"{source}: {sentence_in_words(note, language)}" for source, note in made.notes],
    }

"""LoRA files over HTTP: bake, inspect, label; every file is named as a tag names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from lib_lora.errors import InputError
from lib_lora.formats.editing import Change, Edit, plan, write_copy, write_in_place
from lib_lora.formats.header import read_header
from lib_lora.formats.inspection import inspection
from lib_lora.formats.metadata import describe
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.merge.order import Ingredient, Made, Order, proposed_name
from lib_lora.merge.precision import Precision
from lib_lora.merge.rank import RankRule, RuleKind
from lib_lora.services import merge
from lib_lora.services.atelier import Atelier
from lib_lora.services.files import check_own, submit
from lib_lora.web.api.call import REQUIRED, Call, Field, Route
from lib_lora.web.api.shared import job_row, lora_file, new_file

PRECISIONS = get_args(Precision)
INGREDIENT = (
    Field("lora", str, "name of the LoRA", REQUIRED),
    Field("strength", float, "times everything", 1.0, low=-100, high=100),
    Field("blocks", str, "preset or vector; without it 1 everywhere", ""),
    Field("te", float, "times the text encoder's part", 1.0, low=-100, high=100),
    Field("unet", float, "times the UNet's part", 1.0, low=-100, high=100),
)
COMPRESS = (
    Field("kind", str, "the rule", REQUIRED, choices=get_args(RuleKind)),
    Field("value", float, "its number", REQUIRED),
    Field("cap", int, "at most so many directions", low=1, high=100_000),
)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of files."""
    lora = Field("lora", str, "name of the LoRA, as in a tag", REQUIRED)

    def bake(call: Call) -> Any:
        order = order_of(atelier, call)
        taken = list(atelier.host.list_loras())
        target = new_file(atelier, call["out"] or proposed_name(order, taken=taken), overwrite=call["overwrite"])
        merge.check(order, target, overwrite=call["overwrite"])
        presets, model = atelier.host.presets, atelier.host.model

        def work(tell: Any) -> dict[str, Any]:
            made, saved = merge.write(order, target, presets, model=model, overwrite=call["overwrite"], tell=tell)
            return made_row(made, saved.stem, saved.stat().st_size, call.language)

        job = submit(atelier, target.stem, work)
        return {**job_row(atelier, job, call.language), "lora": target.stem}

    def inspect(call: Call) -> Any:
        path = lora_file(atelier, call["lora"])
        found = inspection(path)
        told = [sentence_in_words(note, call.language) for note in found["notes"]]
        return {"lora": call["lora"], **found, "notes": told}

    def label(call: Call) -> Any:
        path, edit = lora_file(atelier, call["lora"]), edit_of(call)
        changes = plan(path, edit)
        if call["preview"]:
            return {"lora": call["lora"], "changes": [change_row(change) for change in changes]}
        if call["out"]:
            target = new_file(atelier, call["out"], overwrite=call["overwrite"])
            saved, backup = write_copy(path, target, edit, overwrite=call["overwrite"]), None
        else:
            check_own(atelier, path)
            saved, backup = write_in_place(path, edit) if changes else (path, None)
        fields = describe(read_header(saved).metadata).fields
        rows = [change_row(change) for change in changes]
        return {"lora": saved.stem, "changes": rows, "fields": fields, "backup": backup.name if backup else None}

    return (
        Route(
            "POST", "/bake", bake, "Write block weights into a file, or add LoRAs; returns the job.", BAKE, status=202
        ),
        Route("GET", "/inspect", inspect, "Say what is in a file: blocks, ranks, metadata, hashes.", (lora,)),
        Route("POST", "/label", label, "Write title, trigger words and so on into a file or a copy.", (lora, *LABEL)),
    )


BAKE = (
    Field("loras", list, "one to bake, several to add: names, or lora, strength, blocks, te, unet each", REQUIRED),
    Field("out", str, "name of the new file; without it one is made", ""),
    Field("compress", dict, "rule of ranks: kind (rank, sv_ratio, energy, cumulative), value, cap"),
    Field("precision", str, "of the new file; without it as it was", choices=PRECISIONS),
    Field("overwrite", bool, "replace a file of this name", False),
)
LABEL = (
    Field("fields", dict, "title, trigger_words, author, description, tags, usage_hint, source_url, notes …", {}),
    Field("remove_private", bool, "also remove folder names, caption tags and other traces of the training", False),
    Field("out", str, "name of a copy; without it the file itself, with a backup beside it", ""),
    Field("preview", bool, "only say what would change", False),
    Field("overwrite", bool, "replace a file of this name", False),
)


def order_of(atelier: Atelier, call: Call) -> Order:
    """Return the order for a new file that a request describes.

    Raises:
        InputError: a field cannot be right.
    """
    part, rule_part = (
        Route("POST", "loras", _nothing, "", INGREDIENT),
        Route("POST", "compress", _nothing, "", COMPRESS),
    )
    rows = []
    for given in call["loras"]:
        values = part.read(given if isinstance(given, Mapping) else {"lora": given}).fields
        path = lora_file(atelier, values["lora"])
        more = {key: values[key] for key in ("strength", "blocks", "te", "unet")}
        rows.append(Ingredient(path, **more))
    rule = None
    if call["compress"] is not None:
        chosen = rule_part.read(call["compress"]).fields
        rule = RankRule(chosen["kind"], chosen["value"], cap=chosen["cap"])
    return Order(tuple(rows), rule, call["precision"])


def _nothing(call: Call) -> None:
    """Answer nothing: only the fields of such a route are read."""


def edit_of(call: Call) -> Edit:
    """Return what is to change.

    Raises:
        InputError: nothing, or a field is no text.
    """
    fields = call["fields"]
    for name, text in fields.items():
        if not isinstance(text, str):
            raise InputError("This field is a text", where=name, cure="Write it in quotes; an empty one removes.")
    if not fields and not call["remove_private"] and not call["out"]:
        raise InputError("Nothing is to be changed", cure="Give fields, remove_private or out.")
    return Edit(fields, drop_private=call["remove_private"])


def change_row(change: Change) -> dict[str, Any]:
    """Return one change as JSON."""
    return {"key": change.key, "before": change.before, "after": change.after}


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

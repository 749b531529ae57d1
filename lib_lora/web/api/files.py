"""LoRA files over HTTP: bake, inspect; every file is named as a tag names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lib_lora.errors import InputError
from lib_lora.formats.inspection import inspection
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.merge.make import Made
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.rank_rule import LIMITS, RULES, RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec, proposed_name
from lib_lora.options import OVERWRITE, Option, options_of
from lib_lora.progress import Progress
from lib_lora.services import merge
from lib_lora.services.atelier import Atelier
from lib_lora.services.file_facts import lora_path
from lib_lora.services.files import submit
from lib_lora.services.ingredients import rows_of_prompt, typed_row
from lib_lora.web.api.call import Call, Route, read
from lib_lora.web.api.labels import LORA
from lib_lora.web.api.origins import origin_row
from lib_lora.web.api.shared import job_row, lora_file, new_file

ROW = (LORA, *options_of(Ingredient))
COMPRESS = (
    Option("kind", str, "The rule of ranks.", choices=tuple(RULES)),
    Option("value", float, "Its number."),
    *LIMITS,
)
METHOD = options_of(MethodOptions)
BAKE = (
    Option(
        "loras", list, "One to bake, several to join: names, objects with a row's fields, or texts: girl:1:FACE.", ()
    ),
    Option("out", str, "Name of the new file; without it one is made.", ""),
    Option("compress", dict, "Rule of ranks: an object with kind, value, cap, parts; without it none is lost.", None),
    *options_of(MergeSpec),
    *METHOD,
    Option("prompt", str, "Takes the LoRA tags of this prompt as rows, behind those of loras.", ""),
    Option("each", bool, "Make one file of each row, each named by what is in it, instead of one of all.", False),
    Option("preview", bool, "Only say what would come out.", False),
    OVERWRITE,
)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of files."""

    def bake(call: Call) -> Any:
        return bake_job(atelier, call)

    def inspect(call: Call) -> Any:
        path = lora_file(atelier, call["lora"])
        found = inspection(path)
        told = [sentence_in_words(note, call.language) for note in found["notes"]]
        return {"lora": call["lora"], **found, **origin_row(atelier, path), "notes": told}

    does = "Write block weights into a file, or join LoRAs; returns the job."
    return (
        Route("POST", "/bake", bake, does, BAKE, status=202),
        Route("GET", "/inspect", inspect, "Say what is in a file: blocks, ranks, metadata, hashes.", (LORA,)),
    )


def bake_job(atelier: Atelier, call: Call) -> dict[str, Any]:
    """Check an order, queue it and return its job: a file, a file of each row, or numbers only.

    Raises:
        InputError: the order cannot be right. FileError: a file has its name.
    """
    order, notes = order_of(atelier, call)
    if call["each"]:
        if call["out"] or call["preview"]:
            name = "out" if call["out"] else "preview"
            raise InputError("{name} is of one file", name=name, where=name, cure="Leave it out, or leave out each.")
        return _each_job(atelier, call, order, notes)
    host, overwrite = atelier.host, call["overwrite"]
    name = call["out"] or proposed_name(order, taken=list(host.list_loras()))
    if call["preview"]:

        def look(progress: Progress) -> dict[str, Any]:
            made = merge.preview(order, host.presets, model=host.model, name=name, progress=progress)
            return made_row(made, name, made.report.bytes_after, call.language, notes)

        return job_row(atelier, submit(atelier, name, look), call.language)
    target = new_file(atelier, name, overwrite=overwrite)
    merge.check(order, target, overwrite=overwrite)

    def work(progress: Progress) -> dict[str, Any]:
        made, saved = merge.write(order, target, host.presets, model=host.model, overwrite=overwrite, progress=progress)
        return made_row(made, saved.stem, saved.stat().st_size, call.language, notes)

    job = submit(atelier, target.stem, work)
    return {**job_row(atelier, job, call.language), "lora": target.stem}


def _each_job(atelier: Atelier, call: Call, order: MergeSpec, notes: Sequence[str]) -> dict[str, Any]:
    host, folder, overwrite = atelier.host, atelier.folders.loras, call["overwrite"]
    alone = merge.one_by_one(order, folder, overwrite=overwrite)

    def work(progress: Progress) -> dict[str, Any]:
        made = merge.write_each(order, folder, host.presets, model=host.model, overwrite=overwrite, progress=progress)
        rows = [made_row(one, saved.stem, saved.stat().st_size, call.language) for one, saved in made]
        return {"files": rows, "notes": [sentence_in_words(note, call.language) for note in notes]}

    names = [target.stem for _, target in alone]
    return {**job_row(atelier, submit(atelier, names[0], work), call.language), "loras": names}


def order_of(atelier: Atelier, call: Call) -> tuple[MergeSpec, tuple[str, ...]]:
    """Return the order for a new file that a request describes, and what of its tags a file cannot hold.

    Raises:
        InputError: a field cannot be right.
    """
    presets = atelier.host.presets
    rows, notes = ingredients(atelier, call)
    for written in rows_of_prompt(call["prompt"], partial(lora_path, atelier), presets) if call["prompt"] else ():
        rows.append(written.row)
        notes += written.notes
    method = MethodOptions(**call.of(METHOD))
    return MergeSpec(tuple(rows), given_rule(call), call["precision"], method), tuple(notes)


def given_rule(call: Call) -> RankRule | None:
    """Return the rule of ranks that a request's ``compress`` describes; None without one.

    Raises:
        InputError: it cannot be right.
    """
    return None if call["compress"] is None else RankRule(**read(COMPRESS, call["compress"], where="compress"))


def ingredients(atelier: Atelier, call: Call) -> tuple[list[Ingredient], list[str]]:
    """Return the rows that a request's ``loras`` describe, and what of its tags a file cannot hold.

    Raises:
        InputError: a field cannot be right.
    """
    rows: list[Ingredient] = []
    notes: list[str] = []
    for given in call["loras"]:
        if isinstance(given, str) and ":" in given:
            written = typed_row(given, partial(lora_path, atelier), atelier.host.presets, paths=False)
            rows.append(written.row)
            notes += written.notes
            continue
        values = read(ROW, given if isinstance(given, Mapping) else {"lora": given}, where="loras")
        rows.append(Ingredient(lora_file(atelier, values.pop("lora")), **values))
    return rows, notes


def made_row(made: Made, name: str, size: int, language: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a bake has made as JSON: name, size, a row a block, and what was assumed on reading its files."""
    told = [sentence_in_words(note, language) for note in notes]
    told += [f"{source}: {sentence_in_words(note, language)}" for source, note in made.notes]
    return {
        "lora": name,
        "bytes": size,
        **merge.told(made),
        "notes": told,
    }

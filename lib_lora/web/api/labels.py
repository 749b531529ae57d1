"""What LoRA files say of themselves over HTTP: found, changed one by one or many at once, and brought back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.metadata import FIELDS
from lib_lora.formats.search import find_files
from lib_lora.i18n.error_words import error_row, sentence_in_words
from lib_lora.options import OVERWRITE, Option, options_of
from lib_lora.progress import Progress
from lib_lora.services import label_many, labels
from lib_lora.services.atelier import Atelier
from lib_lora.services.files import check_own, submit
from lib_lora.services.labels import LabelOptions
from lib_lora.web.api.call import Call, Route, read
from lib_lora.web.api.shared import job_row, lora_file, new_file

LORA = Option("lora", str, "Name of the LoRA, as in a tag.")
TEXTS = options_of(LabelOptions, only=FIELDS)
CHANGE = (
    Option("fields", dict, f"{', '.join(FIELDS)}; an empty text removes.", {}),
    *options_of(LabelOptions, but=FIELDS),
)
LABEL = (
    LORA,
    *CHANGE,
    Option("out", str, "Name of a copy; without it the file itself is changed, with a backup beside it.", ""),
    Option("preview", bool, "Only say what would change.", False),
    OVERWRITE,
)
MANY = (
    Option("loras", list, "Names of the LoRAs, as in tags.", ()),
    Option("search", str, "All LoRAs that say these words as well, as GET /loras finds them.", ""),
    *CHANGE,
    Option("preview", bool, "Only say what would change in each.", False),
)
UNDO = (LORA, Option("original", bool, "Bring back what the file was before its first change.", False))
FIND = (Option("search", str, "Only those that have every word in name, fields, card or caption tags.", ""),)


def routes(atelier: Atelier) -> tuple[Route, ...]:
    """Return the routes of labels."""
    works = _Works(atelier)
    return (
        Route("GET", "/loras", works.find, "List the LoRAs that tags can name, or those that say some words.", FIND),
        Route("POST", "/label", works.label, "Write title, trigger words and so on into a file or a copy.", LABEL),
        Route(
            "POST",
            "/label-many",
            works.many,
            "Write the same into many files, or say what that would change; returns the job.",
            MANY,
            status=202,
        ),
        Route("POST", "/label/undo", works.undo, "Bring back what a file said before its last change.", UNDO),
    )


class _Works:
    """What the routes answer."""

    def __init__(self, atelier: Atelier) -> None:
        self._atelier = atelier

    def find(self, call: Call) -> Any:
        """List LoRAs."""
        found, broken = find_files(self._atelier.host.list_loras(), call["search"])
        return {"loras": found, **({"broken": broken} if call["search"] else {})}

    def label(self, call: Call) -> Any:
        """Change one file."""
        path, options = lora_file(self._atelier, call["lora"]), self._options(call)
        if not call["out"]:
            options.check()
        overwrite = call["overwrite"]
        target = new_file(self._atelier, call["out"], overwrite=overwrite) if call["out"] else None
        if call["preview"]:
            planned = labels.prepare(path, options.order(), target=target, overwrite=overwrite)
            return {"lora": call["lora"], **_planned_row(planned, call.language)}
        labels.check(path, target, self._atelier, overwrite=overwrite)
        made = labels.write(path, options.order(), target=target, overwrite=overwrite)
        return _made_row(made, call.language)

    def many(self, call: Call) -> Any:
        """Queue a change of many files, or its preview."""
        options = self._options(call)
        options.check()
        order, paths = options.order(), self._paths(call)
        look = call["preview"]

        def work(progress: Progress) -> dict[str, Any]:
            if look:
                planned, failed = label_many.plan_many(paths, order, progress)
                rows = [{"lora": name, **_planned_row(one, call.language)} for name, one in planned.items()]
            else:
                written, failed = label_many.write_many(paths, order, progress)
                rows = [{**_made_row(one, call.language), "lora": name} for name, one in written.items()]
            changed = sum(bool(row["changes"]) for row in rows)
            return {"files": rows, "changed": changed, "of": len(paths), "failed": _errors(failed, call.language)}

        return job_row(self._atelier, submit(self._atelier, "label", work), call.language)

    def undo(self, call: Call) -> Any:
        """Bring a file's last state back."""
        path = lora_file(self._atelier, call["lora"])
        check_own(self._atelier, path)
        return _made_row(labels.undo(path, original=call["original"]), call.language)

    def _paths(self, call: Call) -> dict[str, Path]:
        names = [*call["loras"]]
        if not all(isinstance(name, str) for name in names):
            raise InputError("This option is a list of texts", where="loras", cure="Give a list of texts in quotes.")
        listed = self._atelier.host.list_loras()
        names += find_files(listed, call["search"])[0] if call["search"].strip() else []
        if not names:
            raise InputError("No file is selected", where="loras", cure="Name LoRAs, or search for some.")
        paths = dict(zip(names, map(partial(lora_file, self._atelier), names), strict=True))
        for path in paths.values():
            check_own(self._atelier, path)
        return paths

    def _options(self, call: Call) -> LabelOptions:
        """Return what is to change; a cover is a picture in the folders of the server.

        Raises:
            InputError: a field that is not there or no text, or a path that is not allowed.
        """
        given = {one.name: call[one.name] for one in options_of(LabelOptions, but=FIELDS)}
        if given["cover"]:
            given["cover"] = str(self._atelier.folders.allowed(given["cover"], where="cover"))
        return LabelOptions(**read(TEXTS, call["fields"], where="fields"), **given)


def _planned_row(planned: labels.Planned, language: str) -> dict[str, Any]:
    return {
        "changes": [asdict(change) for change in planned.all_changes],
        "notes": _told(planned.notes, language),
    }


def _made_row(made: labels.Labeled, language: str) -> dict[str, Any]:
    return {
        "lora": made.path.stem,
        "changes": [asdict(change) for change in made.changes],
        "fields": made.fields,
        "backup": made.backup.name if made.backup else None,
        "hash": {"before": made.hash_before, "after": made.hash_after},
        "beside": [path.name for path in made.beside],
        "notes": _told(made.notes, language),
        "failed": _errors(made.failed, language),
    }


def _told(notes: Iterable[str], language: str) -> list[str]:
    return [sentence_in_words(note, language) for note in notes]


def _errors(failed: Iterable[AtelierError], language: str) -> list[dict[str, str]]:
    return [error_row(error, language) for error in failed]

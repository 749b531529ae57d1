"""The comparison of a sweep's runs: the same prompt, seed and settings with each LoRA, and its numbers, as files."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_lora.atomic import make_folder, replace_file
from lib_lora.errors import FileError, InputError, StoppedError
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.host.infotext import write_png
from lib_lora.i18n.words import LANGUAGES
from lib_lora.picture_file import whole_picture
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import say
from lib_lora.services.sweep.best import verdict_of
from lib_lora.services.sweep.compared import BASE, NUMBERS, PICTURES, TABLE, Compared, csv_of, read_comparison
from lib_lora.services.sweep.facts import RunFacts
from lib_lora.services.sweep.record import Sweep
from lib_lora.services.sweep.sheet import grid_of, picture_name
from lib_lora.services.training_samples import sample_request
from lib_lora.train.options import TrainOptions

LoraOf = Callable[[str], Path]
"""From a finished run to its LoRA, where prompts find it under its file's name."""


def compare(
    sweep: Sweep, options: TrainOptions, facts: Sequence[RunFacts], host: Host, lora_of: LoraOf, progress: Progress
) -> Compared:
    """Draw what is not drawn yet of the finished runs and without a LoRA, and write all into the sweep's folder.

    Args:
        sweep: what is compared.
        options: of one of its runs: seed and clip skip of the pictures are what all share.
        facts: of every run, in their order.
        host: who draws.
        lora_of: see `LoraOf`.
        progress: is told how far it is; after a stop the comparison holds what there is.

    Raises:
        InputError: no run is finished. FileError: the disk refuses.
    """
    finished = [one.run for one in facts if one.finished]
    if not finished:
        raise InputError("No run of this sweep is finished yet", where=sweep.name, cure="Wait for the first one.")
    request = sample_request(replace(options, **_shared(sweep, options)), sweep.prompt)
    pictures: dict[str, Path] = {}
    remarks: dict[str, str] = {}
    said_before = _kept_remarks(sweep)
    for number, name in enumerate((BASE, *finished)):
        total = (1 + len(finished)) * request.steps
        part = SubProgress(progress, number * request.steps, request.steps, total, say("drawing the comparison"))
        try:
            kept, notes = _picture(sweep, name, request, host, None if name == BASE else lora_of, part)
        except StoppedError:
            break
        except (InputError, FileError) as error:  # a file that was taken away: the others are compared all the same
            remarks[name] = say("no picture: {error}", error=error)
            continue
        pictures[name] = kept
        if notes is None:  # drawn before; what was said of it then still holds
            notes = said_before.get(kept.name, ())
        if notes:
            remarks[name] = say("{notes:; }", notes=notes)
    made = Compared(sweep, tuple(facts), verdict_of(facts), pictures, remarks, request)
    _write(made)
    return made


def _kept_remarks(sweep: Sweep) -> dict[str, Sequence[str]]:
    """Return the file name of each picture of the newest comparison -> what was remarked of it."""
    kept = read_comparison(sweep)
    rows = [kept["without_lora"], *kept["runs"]] if kept else []
    return {Path(one["picture"]).name: (one["remark"],) for one in rows if one["picture"] and one["remark"]}


def _shared(sweep: Sweep, options: TrainOptions) -> dict[str, Any]:
    """Return seed and clip skip that pictures share where the runs differ in them: the first run's."""
    first = sweep.table.rows[0]
    return {name: first[name] for name in ("seed", "clip_skip") if name in first}


def _picture(
    sweep: Sweep, name: str, request: GenerateRequest, host: Host, lora_of: LoraOf | None, progress: Progress
) -> tuple[Path, Sequence[str] | None]:
    """Return a run's picture and what is remarked of it; None of one that was drawn from this file in this way before.

    Without ``lora_of`` the picture is the model's own.

    Raises:
        StoppedError: somebody asked to stop. InputError, FileError: see `compare`.
    """
    order: GenerateRequest = replace(request, strict=True)
    file: tuple[int, ...] = ()
    if lora_of is not None:
        lora = lora_of(name)
        status = lora.stat()
        order = replace(order, prompt=f"{request.prompt} <lora:{lora.stem}:1>")
        file = (status.st_size, status.st_mtime_ns)
    known = repr((order, host.model.name, *file))
    path = sweep.folder / PICTURES / f"{name}-{hashlib.sha256(known.encode()).hexdigest()[:8]}.png"
    if whole_picture(path) is not None:
        return path, None
    if progress.stopped:
        raise StoppedError
    result = host.generate(order, progress)
    if not result.images or progress.stopped:
        raise StoppedError
    for old in make_folder(path.parent).glob(f"{glob.escape(name)}-????????.png"):
        old.unlink(missing_ok=True)
    write_png(path, result.images[0], result.infotexts[0])
    return path, [*result.notes, *(problem.what for problem in result.problems)]


def _write(made: Compared) -> None:
    folder = made.sweep.folder
    for language in reversed(LANGUAGES):  # English last: it is shown where a language's own is not there
        write_png(folder / picture_name(language), grid_of(made, language))
    # The mark in front lets spreadsheet programs read the file as UTF-8.
    replace_file(folder / TABLE, csv_of(made).encode("utf-8-sig"), what=say("The table"))
    text = json.dumps(made.to_dict(), ensure_ascii=False, indent=1) + "\n"
    replace_file(folder / NUMBERS, text.encode(), what=say("The table"))

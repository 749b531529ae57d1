"""The comparison of a sweep's runs: the same prompt, seed and settings with each LoRA, and its numbers, as files."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from lib_lora.analysis.comparison import Cell, Comparison, draw_comparison
from lib_lora.atomic import make_folder, replace_file
from lib_lora.errors import FileError, InputError, StoppedError
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.host.infotext import write_png
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.picture_file import open_picture
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import packed, say, unpacked
from lib_lora.services.answers import plain
from lib_lora.services.sweep.facts import NOT_BEGUN, RunFacts
from lib_lora.services.sweep.record import Sweep
from lib_lora.services.training_samples import sample_request
from lib_lora.train.options import TrainOptions
from lib_lora.train.sweep_table import shown

PICTURE, TABLE, NUMBERS, PICTURES = "comparison.png", "comparison.csv", "comparison.json", "pictures"
ACROSS = 6
"""Cells of one line where no option has columns of its own."""

LoraOf = Callable[[str], Path]
"""From a finished run to its LoRA, where prompts find it under its file's name."""


@dataclass(frozen=True)
class Compared:
    """A comparison that is written.

    Attributes:
        sweep: what was compared.
        facts: the runs.
        pictures: run -> its picture.
        remarks: run -> what is to be said of its picture.
        request: the order for each picture, without the LoRA.
    """

    sweep: Sweep
    facts: tuple[RunFacts, ...]
    pictures: dict[str, Path]
    remarks: dict[str, str]
    request: GenerateRequest

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; pictures by their names under the sweep's folder."""
        rows = []
        for one in self.facts:
            kept = self.pictures.get(one.run)
            remark = self.remarks.get(one.run)
            rows.append(
                {
                    "run": one.run,
                    "values": dict(one.values),
                    **one.numbers(),
                    "picture": f"{PICTURES}/{kept.name}" if kept else None,
                    "remark": packed(remark) if remark else None,
                    "error": packed(one.error.sentence) if one.error else None,
                }
            )
        return plain({"sweep": self.sweep.name, "prompt": self.request.prompt, "seed": self.request.seed, "runs": rows})


def compare(
    sweep: Sweep, options: TrainOptions, facts: Sequence[RunFacts], host: Host, lora_of: LoraOf, progress: Progress
) -> Compared:
    """Draw what is not drawn yet of the finished runs, and write the comparison into the sweep's folder.

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
    finished = [one for one in facts if one.finished]
    if not finished:
        raise InputError("No run of this sweep is finished yet", where=sweep.name, cure="Wait for the first one.")
    request = sample_request(replace(options, **_shared(sweep, options)), sweep.prompt)
    pictures: dict[str, Path] = {}
    remarks: dict[str, str] = {}
    said_before = _kept_remarks(sweep)
    for number, one in enumerate(finished):
        total = len(finished) * request.steps
        part = SubProgress(progress, number * request.steps, request.steps, total, say("drawing the comparison"))
        try:
            kept, notes = _picture(sweep, one.run, request, host, lora_of, part)
        except StoppedError:
            break
        except (InputError, FileError) as error:  # a file that was taken away: the others are compared all the same
            remarks[one.run] = say("no picture: {error}", error=error)
            continue
        pictures[one.run] = kept
        if notes is None:  # drawn before; what was said of it then still holds
            notes = said_before.get(kept.name, ())
        if notes:
            remarks[one.run] = say("{notes:; }", notes=notes)
    made = Compared(sweep, tuple(facts), pictures, remarks, request)
    _write(made)
    return made


def _kept_remarks(sweep: Sweep) -> dict[str, Sequence[str]]:
    """Return the file name of each picture of the newest comparison -> what was remarked of it."""
    rows = (read_comparison(sweep) or {}).get("runs", ())
    return {Path(one["picture"]).name: (one["remark"],) for one in rows if one["picture"] and one["remark"]}


def read_comparison(sweep: Sweep, language: str = "") -> dict[str, Any] | None:
    """Return a sweep's newest comparison; None where there is none, or none to be read.

    Remarks and errors are texts in ``language``; without one the sentences themselves.
    """
    try:
        kept = json.loads((sweep.folder / NUMBERS).read_text(encoding="utf-8"))
        for one in kept["runs"]:
            for key in ("remark", "error"):
                text = unpacked(one[key])
                one[key] = sentence_in_words(text, language) if text and language else text
        return kept
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _shared(sweep: Sweep, options: TrainOptions) -> dict[str, Any]:
    """Return seed and clip skip that pictures share where the runs differ in them: the first run's."""
    first = sweep.table.rows[0]
    return {name: first[name] for name in ("seed", "clip_skip") if name in first}


def _picture(
    sweep: Sweep, run: str, request: GenerateRequest, host: Host, lora_of: LoraOf, progress: Progress
) -> tuple[Path, Sequence[str] | None]:
    """Return a run's picture and what is remarked of it; None of one that was drawn from this file in this way before.

    Raises:
        StoppedError: somebody asked to stop. InputError, FileError: see `compare`.
    """
    lora = lora_of(run)
    order = replace(request, prompt=f"{request.prompt} <lora:{lora.stem}:1>", strict=True)
    status = lora.stat()
    known = repr((order, host.model.name, status.st_size, status.st_mtime_ns))
    path = sweep.folder / PICTURES / f"{run}-{hashlib.sha256(known.encode()).hexdigest()[:8]}.png"
    if _whole(path) is not None:
        return path, None
    if progress.stopped:
        raise StoppedError
    result = host.generate(order, progress)
    if not result.images or progress.stopped:
        raise StoppedError
    for old in make_folder(path.parent).glob(f"{glob.escape(run)}-????????.png"):
        old.unlink(missing_ok=True)
    write_png(path, result.images[0], result.infotexts[0])
    return path, [*result.notes, *(problem.what for problem in result.problems)]


def _write(made: Compared) -> None:
    folder = made.sweep.folder
    write_png(folder / PICTURE, grid_of(made))
    # The mark in front lets spreadsheet programs read the file as UTF-8.
    replace_file(folder / TABLE, csv_of(made).encode("utf-8-sig"), what=say("The table"))
    text = json.dumps(made.to_dict(), ensure_ascii=False, indent=1) + "\n"
    replace_file(folder / NUMBERS, text.encode(), what=say("The table"))


def csv_of(made: Compared) -> str:
    """Return the facts as a table: a row for each run, a column for each option that differs, then the numbers."""
    names = list(dict.fromkeys(name for one in made.facts for name in one.values))
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["run", *names, *made.facts[0].numbers(), "picture"])
    for one in made.facts:
        values = [shown(one.values[name]) if name in one.values else "" for name in names]
        numbers = ["" if each is None else each for each in one.numbers().values()]
        kept = made.pictures.get(one.run)
        table.writerow([one.run, *values, *numbers, f"{PICTURES}/{kept.name}" if kept else ""])
    return out.getvalue()


def grid_of(made: Compared) -> Image.Image:
    """Return the labeled grid: the first option's values as columns, those of the others as rows."""
    table, request = made.sweep.table, made.request
    axes = list(table.axes.items())
    cells = {one.run: _cell(made, one, headed=not axes) for one in made.facts}
    text = (
        f"{request.prompt} · seed {request.seed}, {request.steps} steps, {request.sampler}, CFG {request.cfg_scale:g}"
    )
    if not axes:
        each = list(cells.values())
        lines = [each[start : start + ACROSS] for start in range(0, len(each), ACROSS)]
        return draw_comparison(Comparison(made.sweep.name, text, lines))
    columns = [f"{axes[0][0]} {shown(value)}" for value in axes[0][1]]
    by_row: dict[str, list[Cell]] = {}
    for one in made.facts:
        rest = ", ".join(f"{name} {shown(one.values[name])}" for name, _ in axes[1:])
        by_row.setdefault(rest, []).append(cells[one.run])
    rows = list(by_row) if len(axes) > 1 else []
    return draw_comparison(Comparison(made.sweep.name, text, list(by_row.values()), columns, rows))


def _cell(made: Compared, one: RunFacts, *, headed: bool) -> Cell:
    head = ", ".join(f"{name} {shown(value)}" for name, value in one.values.items()) if headed else ""
    if one.error is not None:
        return Cell(None, (), head, f"failed: {one.error.what}")
    if not one.finished:
        state = "not begun" if one.state == NOT_BEGUN else f"{one.state} at step {one.steps}"
        return Cell(None, (state,), head)
    kept, remark = made.pictures.get(one.run), made.remarks.get(one.run)
    return Cell(None if kept is None else _whole(kept), facts_lines(one), head, remark or "")


def _whole(path: Path) -> Image.Image | None:
    """Return a picture that is kept; None where there is none, or one that is damaged: it is drawn again then."""
    try:
        with path.open("rb") as file, open_picture(file, kinds=("PNG",)) as opened:
            return opened.convert("RGB")
    except (OSError, FileError):
        return None


def facts_lines(one: RunFacts) -> tuple[str, ...]:
    """Return the facts of a finished run in short lines, as they stand below its picture."""
    losses = [f"steady {one.steady:.4f}" if one.steady is not None else "", f"loss {one.loss:.4f}" if one.loss else ""]
    drifted = [
        f"held out {one.held:.4f}" if one.held is not None else "",
        f"drift {100 * one.drift:.1f} %" if one.drift is not None else "",
    ]
    cost = [f"{one.steps} steps", _time(one.seconds), f"{one.bytes / 1e6:.2f} MB" if one.bytes else ""]
    return tuple(" · ".join(filter(None, parts)) for parts in (losses, drifted, cost) if any(parts))


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

"""New LoRA files from old ones: an order is looked at, made and written in one way, whichever door it came through."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.formats.lora import write_lora
from lib_lora.formats.names import ENDING
from lib_lora.formats.saving import check_target
from lib_lora.live.targets import HasLayers
from lib_lora.merge.make import Made, make
from lib_lora.merge.spec import MergeSpec, proposed_name
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


def check(order: MergeSpec, target: Path, *, overwrite: bool) -> None:
    """Refuse a target before any work is done for it.

    Raises:
        InputError: it is one of the files that the order is made of.
        FileError: it exists and ``overwrite`` is false, or its folder cannot be used.
    """
    check_target(target, overwrite=overwrite, sources=[row.path for row in order.ingredients])


def preview(
    order: MergeSpec,
    presets: PresetFile,
    *,
    model: HasLayers | None = None,
    name: str = "",
    progress: Progress = QUIET,
) -> Made:
    """Make what the order says, write nothing and return it; see `write`; without a ``name`` the proposed one."""
    return make(order, presets, progress, model=model, name=name or proposed_name(order))


def write(
    order: MergeSpec,
    target: Path,
    presets: PresetFile,
    *,
    model: HasLayers | None = None,
    overwrite: bool = False,
    progress: Progress = QUIET,
    name: str = "",
) -> tuple[Made, Path]:
    """Make what the order says and write it; return it and its file.

    Args:
        order: what the file is made of.
        target: the new file.
        presets: where the names of block weights are looked up.
        model: the loaded model, for kinds of changes that depend on its weights.
        overwrite: replace a file of this name.
        progress: is told how far the work is, and may stop it.
        name: by which its size counts; without it the target's.

    Raises:
        InputError: the order cannot be right; FileError: a file cannot be read or written. A file that was there stays.
        StoppedError: somebody asked to stop; no file was written.
    """
    check(order, target, overwrite=overwrite)
    made = make(order, presets, progress, model=model, name=name or target.stem)
    progress.passed(1, 1, say("saving"))
    return made, write_lora(made.lora, target, overwrite=overwrite)


def one_by_one(order: MergeSpec, folder: Path, *, overwrite: bool) -> tuple[tuple[MergeSpec, Path], ...]:
    """Return an order for each row alone and its file, named by what is in it.

    Raises:
        InputError: rows are joined by another method than the sum, two of them would get one name, or as `check`;
            FileError: as `check`.
    """
    if order.method.method != "sum":
        raise InputError(
            "One file each is not joined, so the method {method} means nothing",
            method=order.method.method,
            where="method",
            cure="Leave the method out, or make one file.",
            option="method",
        )
    alone = [replace(order, ingredients=(row,)) for row in order.ingredients]
    targets = [folder / f"{proposed_name(one)}{ENDING}" for one in alone]
    for one, target in zip(alone, targets, strict=True):
        check(one, target, overwrite=overwrite)
        if targets.count(target) > 1:
            cure = say("Give them other weights, or make one file.")
            raise InputError("Two rows would become one file", where=target.stem, cure=cure)
    return tuple(zip(alone, targets, strict=True))


def write_each(
    order: MergeSpec,
    folder: Path,
    presets: PresetFile,
    *,
    model: HasLayers | None = None,
    overwrite: bool = False,
    progress: Progress = QUIET,
) -> tuple[tuple[Made, Path], ...]:
    """Make a file of each row alone and return them; what was written before a stop stays.

    Raises:
        InputError, FileError, StoppedError: as `one_by_one` and `write`.
    """
    return tuple(
        write(one, target, presets, model=model, overwrite=overwrite, progress=progress)
        for one, target in one_by_one(order, folder, overwrite=overwrite)
    )


def told(made: Made) -> dict[str, Any]:
    """Return what an order gives as JSON: a row a block, the weights used, and how far the LoRAs overlap."""
    names = [name for name, _ in made.used]
    rows: dict[str, Any] = {
        "bytes_before": made.report.bytes_before,
        "bytes_after": made.report.bytes_after,
        "dropped": len(made.report.dropped),
        "blocks": made.report.by_block(),
        "used": [{"lora": name, "multipliers": table} for name, table in made.used],
        "overlaps": [
            {
                "rows": [one.first + 1, one.second + 1],
                "loras": [names[one.first], names[one.second]],
                "cosine": one.whole,
                "blocks": dict(one.blocks),
            }
            for one in made.overlaps
        ],
    }
    if made.taken:
        rows["taken"] = {block: list(counts) for block, counts in made.taken.items()}
    if made.removed:
        rows["removed"] = {block: asdict(one) for block, one in made.removed.items()}
    return rows

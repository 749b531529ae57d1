"""New LoRA files from old ones: an order is looked at, made and written in one way, whichever door it came through."""

from __future__ import annotations

from pathlib import Path

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.formats.lora import write_lora
from lib_lora.formats.saving import check_target
from lib_lora.live.targets import HasLayers
from lib_lora.merge.spec import Made, MergeSpec, make
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


def check(order: MergeSpec, target: Path, *, overwrite: bool) -> None:
    """Refuse a target before any work is done for it.

    Raises:
        InputError: it is one of the files that the order is made of.
        FileError: it exists and ``overwrite`` is false, or its folder cannot be used.
    """
    check_target(target, overwrite=overwrite)
    if any(row.path.resolve() == target.resolve() for row in order.ingredients):
        cure = say("Choose another name.")
        raise InputError("The new file would replace one that it is made of", where=target.stem, cure=cure)


def preview(
    order: MergeSpec, presets: PresetFile, *, model: HasLayers | None = None, progress: Progress = QUIET
) -> Made:
    """Make what the order says, write nothing and return it; see `write`."""
    return make(order, presets, progress, model=model)


def write(
    order: MergeSpec,
    target: Path,
    presets: PresetFile,
    *,
    model: HasLayers | None = None,
    overwrite: bool = False,
    progress: Progress = QUIET,
) -> tuple[Made, Path]:
    """Make what the order says and write it; return it and its file.

    Args:
        order: what the file is made of.
        target: the new file.
        presets: where the names of block weights are looked up.
        model: the loaded model, for kinds of changes that depend on its weights.
        overwrite: replace a file of this name.
        progress: is told how far the work is, and may stop it.

    Raises:
        InputError: the order cannot be right; FileError: a file cannot be read or written. A file that was there stays.
        StoppedError: somebody asked to stop; no file was written.
    """
    check(order, target, overwrite=overwrite)
    made = make(order, presets, progress, model=model)
    progress.passed(1, 1, say("saving"))
    return made, write_lora(made.lora, target, overwrite=overwrite)

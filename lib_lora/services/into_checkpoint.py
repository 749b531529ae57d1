"""LoRAs into a checkpoint: looked at and written in one way, whichever door it came through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.blocks.presets import PresetFile
from lib_lora.formats.checkpoint import CheckpointFile, read_checkpoint
from lib_lora.formats.hashes import file_hash
from lib_lora.formats.names import proposed_stem
from lib_lora.formats.saving import check_target
from lib_lora.merge import provenance
from lib_lora.merge.into_checkpoint import Written, plan
from lib_lora.merge.into_checkpoint import write as write_plan
from lib_lora.merge.make import summand
from lib_lora.merge.recipe import into_checkpoint
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.merge.spec import proposed_name as name_of_merge
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say


@dataclass(frozen=True)
class IntoSpec:
    """An order: a checkpoint, and the LoRAs that become part of it with their block weights."""

    checkpoint: Path
    ingredients: tuple[Ingredient, ...]

    def __post_init__(self) -> None:
        MergeSpec(self.ingredients)  # refuses an order without a LoRA


def check(order: IntoSpec, target: Path, *, overwrite: bool) -> CheckpointFile:
    """Refuse an order before any work is done for it; return the checkpoint.

    Raises:
        InputError: the target is a file that it is made of.
        FileError: the target exists and ``overwrite`` is false, or the checkpoint cannot be read.
    """
    sources = (order.checkpoint, *(row.path for row in order.ingredients))
    check_target(target, overwrite=overwrite, sources=sources)
    return read_checkpoint(order.checkpoint)


def write(
    order: IntoSpec,
    target: Path,
    presets: PresetFile,
    *,
    overwrite: bool = False,
    progress: Progress = QUIET,
) -> Written:
    """Write the checkpoint with its LoRAs; return the new file, its hash, and what was done.

    Raises:
        InputError: the order cannot be right; FileError: a file cannot be read or written. A file that was there stays.
        StoppedError: somebody asked to stop; no file was written.
    """
    checkpoint = check(order, target, overwrite=overwrite)
    parts = []
    for number, row in enumerate(order.ingredients):
        progress.passed(number, len(order.ingredients), say("reading"))
        parts.append(summand(row, presets))
    planned = plan(checkpoint, parts)
    digest = file_hash(checkpoint.path, progress)
    metadata = into_checkpoint(checkpoint, [(part.lora, part.used) for part in parts], digest=digest)
    own = provenance.Parent(
        checkpoint.path.stem, digest, provenance.CHECKPOINT, made=provenance.read_order(checkpoint.header.metadata)
    )
    rows = [
        provenance.parent_of(row.path, part.lora.metadata, provenance.row_of(row, presets, part.lora.family))
        for row, part in zip(order.ingredients, parts, strict=True)
    ]
    metadata = provenance.noted(metadata, provenance.of_checkpoint(own, rows))
    if set(checkpoint.header.metadata) - set(metadata):
        note = say("The hash that the checkpoint's metadata holds is left out: it is that of the file before.")
        planned = replace(planned, notes=(*planned.notes, (checkpoint.path.stem, note)))
    return write_plan(planned, target, metadata, overwrite=overwrite, progress=progress)


def proposed_name(order: IntoSpec, *, taken: Sequence[str] = ()) -> str:
    """Return a name for the new file that tells what is in it: ``model+girl_0.8_FACE``."""
    return proposed_stem([f"{order.checkpoint.stem}+{name_of_merge(MergeSpec(order.ingredients))}"], taken=taken)

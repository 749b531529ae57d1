"""A LoRA out of two checkpoints: looked at, extracted and written in one way, whichever door it came through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lib_lora.formats.checkpoint import CheckpointFile, read_checkpoint
from lib_lora.formats.hashes import file_hash
from lib_lora.formats.lora import write_lora
from lib_lora.formats.names import proposed_stem
from lib_lora.formats.saving import check_target
from lib_lora.host.noise_schedule import marks_of
from lib_lora.merge.extract import extract
from lib_lora.merge.extract_spec import ExtractSpec
from lib_lora.merge.make import Made
from lib_lora.merge.pairing import pair
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import Sentence, say


def check(order: ExtractSpec, target: Path, *, overwrite: bool) -> tuple[CheckpointFile, CheckpointFile]:
    """Refuse an order before any work is done for it, from the headers alone; return the two checkpoints.

    Raises:
        InputError: the target is one of the checkpoints, or they do not go together.
        FileError: the target exists and ``overwrite`` is false, or a checkpoint cannot be read.
    """
    check_target(target, overwrite=overwrite, sources=(order.tuned, order.original))
    tuned, original = read_checkpoint(order.tuned), read_checkpoint(order.original)
    pair(tuned, original)
    return tuned, original


def write(
    order: ExtractSpec, target: Path, *, overwrite: bool = False, progress: Progress = QUIET, name: str = ""
) -> tuple[Made, Path]:
    """Extract and write; return what was made and its file. A size counts by ``name``, without it by the target's.

    Raises:
        InputError: the order cannot be right; FileError: a file cannot be read or written. A file that was there stays.
        StoppedError: somebody asked to stop; no file was written.
    """
    tuned, original = check(order, target, overwrite=overwrite)
    order, notes = _predicting(order, tuned, original)
    hashes = {one.path: file_hash(one.path, progress) for one in (tuned, original)}
    made = extract(order, tuned, original, progress, hashes=hashes, name=name or target.stem)
    progress.passed(1, 1, say("saving"))
    saved = write_lora(made.lora, target, overwrite=overwrite)
    return replace(made, notes=(*((tuned.path.stem, note) for note in notes), *made.notes)), saved


def _predicting(
    order: ExtractSpec, tuned: CheckpointFile, original: CheckpointFile
) -> tuple[ExtractSpec, list[Sentence]]:
    """Return the order with what the tuned model predicts, and what is to be said of it."""
    marked = [marks_of(one.header.tensors, one.header.metadata).velocity for one in (tuned, original)]
    notes = []
    if marked[0] != marked[1]:
        notes.append(
            say(
                "The tuned checkpoint says that it predicts {tuned}, the original {original}: pictures with the LoRA "
                "are sampled as the tuned one's are.",
                tuned=_called(marked[0]),
                original=_called(marked[1]),
            )
        )
    if order.prediction is not None or tuned.family.betas is None:  # a flow model predicts neither
        return order, notes
    if not marked[0] and tuned.family.velocity_side:
        notes.append(
            say(
                "The checkpoint does not say whether it predicts the noise or the velocity, and the LoRA's metadata "
                "neither; “prediction” says it.",
            )
        )
        return order, notes
    return replace(order, prediction="v" if marked[0] else "epsilon"), notes


def _called(velocity: bool) -> Sentence:
    return say("the velocity") if velocity else say("the noise")


def proposed_name(order: ExtractSpec, *, taken: tuple[str, ...] = ()) -> str:
    """Return a name for the new file that tells what is in it: ``tuned_minus_original_r32``."""
    return proposed_stem([f"{order.tuned.stem}_minus_{order.original.stem}", order.rule.name], taken=list(taken))

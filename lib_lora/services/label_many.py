"""One change for many LoRA files: of a list or a folder, seen file by file before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.formats.lora_names import named_files
from lib_lora.formats.names import ENDING
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say
from lib_lora.services import labels


def files_of(given: Sequence[Path]) -> dict[str, Path]:
    """Return files by their names: those that are named, and those below the folders that are.

    Raises:
        FileError: there is no such file or folder; InputError: a folder has none.
    """
    found: dict[str, Path] = {}
    for path in given:
        if path.is_dir():
            below = named_files([path])
            if not below:
                cure = say("Choose another folder.")
                raise InputError("There is no LoRA file in this folder", where=str(path), cure=cure)
            found |= {name if name not in found else str(one): one for name, one in below.items()}
            continue
        if not path.is_file():
            raise FileError("There is no such file", where=str(path), cure="Check the name and the folder.")
        if path.suffix.lower() != ENDING:
            raise FileError("This is not a safetensors file", where=str(path), cure="Choose a LoRA file.")
        found[path.stem if path.stem not in found else str(path)] = path
    return found


def plan_many(
    paths: Mapping[str, Path], order: labels.Order, progress: Progress = QUIET
) -> tuple[dict[str, labels.Planned], list[AtelierError]]:
    """Return what an order does to many files, and what keeps others from it; nothing is written.

    Raises:
        InputError: no file can be changed as the order says, for one and the same reason. StoppedError.
    """
    planned: dict[str, labels.Planned] = {}
    failed: list[AtelierError] = []
    for done, (name, path) in enumerate(paths.items()):
        progress.passed(done, len(paths), say("reading"))
        try:
            planned[name] = labels.prepare(path, order)
        except AtelierError as error:
            failed.append(_of_file(error, path))
    if not planned and failed and all(isinstance(one, InputError) and one.what == failed[0].what for one in failed):
        raise failed[0]
    return planned, failed


def write_many(
    paths: Mapping[str, Path], order: labels.Order, progress: Progress
) -> tuple[dict[str, labels.Labeled], list[AtelierError]]:
    """Write one change into many files; return those that changed, and what kept others from it.

    A wish to stop ends it; what is written stays.
    """
    written: dict[str, labels.Labeled] = {}
    failed: list[AtelierError] = []
    for done, (name, path) in enumerate(paths.items()):
        progress.update(done, len(paths), say("saving"))
        if progress.stopped:
            break
        try:
            planned = labels.prepare(path, order)
            if planned.all_changes:
                written[name] = labels.carry_out(planned)
                failed += [_of_file(error, path) for error in written[name].failed]
        except AtelierError as error:  # one broken file must not keep the others from their labels
            failed.append(_of_file(error, path))
    return written, failed


def _of_file(error: AtelierError, path: Path) -> AtelierError:
    """Return an error that says which file it is about."""
    if path.stem not in error.where:
        error.where = say("{file}, {part}", file=path.name, part=error.where) if error.where else path.name
    return error

"""A LoRA file in another program's form, or in another precision: looked at, made and written in one way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora.errors import InputError
from lib_lora.formats.files import file_size, write_tensors
from lib_lora.formats.forms import ALPHA_TOLD, ALSO, FORMS, form_of
from lib_lora.formats.lora import WholeFile
from lib_lora.formats.names import proposed_stem
from lib_lora.formats.saving import check_target
from lib_lora.formats.stored_lora import open_whole
from lib_lora.merge import provenance
from lib_lora.merge.convert import Converted, convert, recast
from lib_lora.merge.precision import TYPES, Precision
from lib_lora.options import option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say
from lib_lora.services.beside import check_beside, options_text, put_beside

SAME = "same"
"""Names that stay as they are."""


@dataclass(frozen=True)
class ConvertOptions:
    """What a file is to become."""

    to: str = option(
        SAME,
        "Form",
        "kohya is read by the WebUI, Forge and sd-scripts, diffusers by diffusers, comfyui by ComfyUI; same keeps the "
        "names.",
        choices=(SAME, *FORMS, *ALSO),
    )
    precision: Precision | None = option(
        None, "Save precision", "Of the new file; without it as it was.", choices=tuple(TYPES)
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.to == SAME and self.precision is None:
            what = say("There is nothing to convert")
            raise InputError(what, cure="Choose a form, a precision, or both.")


def proposed_name(path: Path, options: ConvertOptions, *, taken: list[str]) -> str:
    """Return a name for the new file: ``girl_comfyui``, ``girl_fp16``."""
    words = [] if options.to == SAME else [options.to]
    return proposed_stem([path.stem, *words, options.precision or ""], taken=taken)


def check(path: Path, options: ConvertOptions, target: Path, *, overwrite: bool) -> None:
    """Refuse a target before any work is done for it.

    Raises:
        InputError: it is the file itself.
        FileError: it, or the options beside it, exist and ``overwrite`` is false; or its folder is not there.
    """
    check_target(target, overwrite=overwrite, sources=(path,))
    check_beside(path, target, new=_has_options(options), overwrite=overwrite)


def _has_options(options: ConvertOptions) -> bool:
    return options.to != SAME and form_of(options.to).alpha == ALPHA_TOLD


def preview(path: Path, options: ConvertOptions, progress: Progress = QUIET) -> Converted:
    """Make what the options say, write nothing and return it; see `write`."""
    progress.passed(0, 1, say("reading"))
    source = open_whole(path)
    made = _made(source, options, progress)
    given = {"to": options.to, **({"precision": options.precision} if options.precision else {})}
    parent = provenance.parent_of(path, source.metadata)
    order = provenance.of_one(provenance.CONVERT, parent, given, error=made.largest)
    made = replace(made, metadata=provenance.noted(made.metadata, order))
    notes = (*source.lora.notes, *made.notes)
    size = file_size(made.tensors, made.named("unsaved"))
    report = replace(made.report, bytes_before=path.stat().st_size, bytes_after=size)
    return replace(made, notes=notes, report=report, config=options_text(path) if options.to == SAME else made.config)


def write(
    path: Path, options: ConvertOptions, target: Path, *, overwrite: bool = False, progress: Progress = QUIET
) -> tuple[Converted, Path]:
    """Convert a file, write it, and return what was made and where it is.

    Args:
        path: the file; it stays.
        options: what it is to become.
        target: the new file; PEFT's options go beside it, as ``adapter_config.json``.
        overwrite: replace files of these names.
        progress: is told how far the work is, and may stop it.

    Raises:
        InputError: the form cannot hold it; FileError: a file cannot be read or written. A file that was there stays.
        StoppedError: somebody asked to stop; no file was written.
    """
    check(path, options, target, overwrite=overwrite)
    made = preview(path, options, progress)
    progress.passed(1, 1, say("saving"))
    saved = write_tensors(target, made.tensors, made.named(target.stem), overwrite=overwrite)
    put_beside(saved, made.config)
    return made, saved


def _made(source: WholeFile, options: ConvertOptions, progress: Progress) -> Converted:
    if options.to != SAME:
        return convert(source, form_of(options.to), options.precision, progress)
    assert options.precision is not None
    return recast(source, options.precision, progress)

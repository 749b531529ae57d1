"""Parts of a LoRA file: pruned, or split into several files whose sum is the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lib_lora.errors import InputError
from lib_lora.formats.files import write_tensors
from lib_lora.formats.forms import part_of
from lib_lora.formats.lora import WholeFile
from lib_lora.formats.names import ENDING, proposed_stem
from lib_lora.formats.saving import check_target
from lib_lora.formats.stored_lora import open_whole
from lib_lora.merge import provenance
from lib_lora.merge.portions import UNET, Portion, by_blocks, by_model, portion, without
from lib_lora.options import option, settle
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import Sentence, say
from lib_lora.services.beside import check_beside, options_text, put_beside

TEXT, MODELS, BLOCKS = "text", "models", "blocks"


@dataclass(frozen=True)
class PruneOptions:
    """What is taken out of a file."""

    text_encoders: bool = option(False, "Without text encoders", "Takes the text encoders' modules away.")
    blocks: str = option(
        "",
        "Blocks to take away",
        "Takes these blocks away: IN00, OUT09-OUT11.",
        form="A,B-C",
    )
    modules: tuple[str, ...] = option(
        (), "Modules to take away", "Takes modules away whose name has one of these texts in it: attn2, ff_net."
    )
    zero: bool = option(False, "Without modules that change nothing", "Takes modules away whose change is 0.")
    extras: bool = option(
        False, "Without embeddings", "Takes bundled embeddings and whatever is none of a LoRA's away."
    )

    def __post_init__(self) -> None:
        settle(self)
        if not (self.text_encoders or self.blocks.strip() or self.modules or self.zero or self.extras):
            raise InputError("There is nothing to take away", cure="Say what is to go.")


@dataclass(frozen=True)
class SplitOptions:
    """Into what a file is split."""

    by: str = option(
        TEXT,
        "Into",
        "text: the text encoders and the UNet; models: each text encoder by itself; blocks: groups of blocks.",
        choices=(TEXT, MODELS, BLOCKS),
    )
    groups: str = option(
        "",
        "Groups of blocks",
        "Groups, separated by commas, the rest as one more: BASE, IN00-IN05. Without them BASE, IN, M, OUT.",
        form="A-B,C",
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.groups.strip() and self.by != BLOCKS:
            raise InputError("Groups of blocks are named, but not used", where="groups", cure="Split by blocks.")


@dataclass(frozen=True)
class Pruned:
    """What is left of a file.

    Attributes:
        path: the new file.
        modules: how many are left; ``gone`` how many went, by why: "text", "blocks", "modules", "zero".
        extras: how many tensors that are none of a LoRA's went.
        bytes_before, bytes_after: sizes of the files.
        notes: what was assumed on reading.
    """

    path: Path
    modules: int
    gone: Mapping[str, int]
    extras: int
    bytes_before: int
    bytes_after: int
    notes: tuple[Sentence | str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """One of the files that a file was split into.

    Attributes:
        path: the file; ``label`` what it holds, as in its name.
        blocks: number of modules by block.
        extras: how many tensors that are none of a LoRA's it has.
        size: bytes.
    """

    path: Path
    label: str
    blocks: Mapping[str, int]
    extras: int
    size: int


@dataclass(frozen=True)
class _Part:
    label: str
    target: Path
    portion: Portion = field(repr=False)


def proposed_name(path: Path, *, taken: list[str]) -> str:
    """Return a name for what is left of a file."""
    return proposed_stem([path.stem, "pruned"], taken=taken)


def check(path: Path, target: Path, *, overwrite: bool) -> None:
    """Refuse a target before any work is done for it.

    Raises:
        InputError: it is the file itself. FileError: it exists and ``overwrite`` is false, or its folder is not there.
    """
    check_target(target, overwrite=overwrite, sources=(path,))
    check_beside(path, target, new=False, overwrite=overwrite)


def prune(
    path: Path, options: PruneOptions, target: Path, *, overwrite: bool = False, progress: Progress = QUIET
) -> Pruned:
    """Write a file without some of its modules; what is left stays bit for bit.

    Raises:
        InputError: nothing goes, nothing is left, or a block or module is not in the file.
        FileError: a file cannot be read or written. StoppedError: somebody asked to stop; no file was written.
    """
    check(path, target, overwrite=overwrite)
    progress.passed(0, 1, say("reading"))
    source = open_whole(path)
    lora = source.lora
    gone = without(lora, text=options.text_encoders, blocks=options.blocks, modules=options.modules, zero=options.zero)
    extras = len(lora.extras) if options.extras else 0
    if not gone and not extras:
        what = say("The file has nothing of what is to go")
        raise InputError(what, where=lora.name, cure="Keep the file as it is.")
    kept = [key for key in lora.adapters if key not in gone]
    counted = dict(Counter(gone.values()))
    step = {"op": "prune", **counted, **({"extras": extras} if extras else {})}
    made = portion(source, kept, step, extras=not options.extras)
    made = _noted(path, source, made, provenance.PRUNE, {**asdict(options), "modules": list(options.modules)})
    progress.passed(1, 1, say("saving"))
    _save(path, target, made, overwrite=overwrite)
    sizes = path.stat().st_size, target.stat().st_size
    return Pruned(target, len(kept), counted, extras, *sizes, notes=lora.notes)


def split(
    path: Path,
    options: SplitOptions,
    folder: Path,
    *,
    stem: str = "",
    overwrite: bool = False,
    progress: Progress = QUIET,
) -> tuple[list[Piece], tuple[str, ...]]:
    """Write a file as several, ``stem_LABEL``, and return them with what was assumed on reading.

    Tensors that are none of a LoRA's go with the text encoders where there are some.

    Args:
        path: the file; it stays.
        options: into what.
        folder: where the new files go.
        stem: what their names begin with; "" for the file's own.
        overwrite: replace files of these names.
        progress: is told how far the work is, and may stop it.

    Raises:
        InputError: there is one part only, or a group cannot be right; FileError: a file cannot be read or written.
        StoppedError: somebody asked to stop; files that are there are whole.
    """
    progress.passed(0, 1, say("reading"))
    source = open_whole(path)
    parts = _parts(path, source, options, folder, stem or path.stem)
    for one in parts:
        check(path, one.target, overwrite=overwrite)
    pieces = []
    for number, one in enumerate(parts):
        progress.passed(number, len(parts), say("saving"))
        _save(path, one.target, one.portion, overwrite=overwrite)
        lora = one.portion.lora
        blocks = {block: len(keys) for block, keys in lora.blocks().items()}
        pieces.append(Piece(one.target, one.label, blocks, len(lora.extras), one.target.stat().st_size))
    progress.passed(len(parts), len(parts), say("saving"))
    return pieces, source.lora.notes


def split_part(path: Path, options: SplitOptions, label: str, target: Path, *, progress: Progress = QUIET) -> Path:
    """Write one of the files that `split` would write.

    Raises:
        InputError: there is no such part, or as `split`; FileError: a file cannot be read or written.
    """
    progress.passed(0, 1, say("reading"))
    parts = {one.label: one for one in _parts(path, open_whole(path), options, target.parent, target.stem)}
    if label not in parts:
        raise InputError("The file has no such part", where=label[:60], cure="Split it anew.")
    check(path, target, overwrite=False)
    _save(path, target, parts[label].portion, overwrite=False)
    return target


def _noted(path: Path, source: WholeFile, made: Portion, command: str, options: Mapping[str, object]) -> Portion:
    """Return a portion whose metadata tell what made it; options that say nothing are left out."""
    given = {name: value for name, value in options.items() if value not in ("", False, [], ())}
    order = provenance.of_one(command, provenance.parent_of(path, source.metadata), given)
    return replace(made, metadata=provenance.noted(made.metadata, order))


def _parts(path: Path, source: WholeFile, options: SplitOptions, folder: Path, stem: str) -> Sequence[_Part]:
    lora = source.lora
    blocks, each = options.by == BLOCKS, options.by == MODELS
    groups = by_blocks(lora, options.groups) if blocks else by_model(lora, each=each)
    if len(groups) < 2:
        what = say("The file has one part only: {part}", part=next(iter(groups)))
        raise InputError(what, where=lora.name, cure="Split it another way.")
    of_text = [label for label, keys in groups.items() if any(part_of(key, lora.family) != UNET for key in keys)]
    with_extras = (of_text or list(groups))[0]
    found = []
    for label, keys in groups.items():
        step = {"op": "split", "part": label, "of": sorted(groups)}
        made = portion(source, keys, step, extras=label == with_extras)
        made = _noted(path, source, made, provenance.SPLIT, {**asdict(options), "part": label})
        found.append(_Part(label, folder / f"{stem}_{label}{ENDING}", made))
    return found


def _save(path: Path, target: Path, made: Portion, *, overwrite: bool) -> None:
    write_tensors(target, made.tensors, made.named(target.stem), overwrite=overwrite)
    put_beside(target, options_text(path))

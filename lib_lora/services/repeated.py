"""Making a file again from the files that it was made of, as its metadata say, and comparing the tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.formats.files import is_pickle
from lib_lora.formats.hashes import tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.names import proposed_stem
from lib_lora.live.targets import HasLayers
from lib_lora.merge.extract_spec import ExtractSpec
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.provenance import CONVERT, EXTRACT, INTO, MERGE, PRUNE, SPLIT, Order, Parent, read_order
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.progress import QUIET, Progress
from lib_lora.sentences import say
from lib_lora.services import conversion, extract, into_checkpoint, merge, portions
from lib_lora.services.lineage import HERE, OTHER, Files


@dataclass(frozen=True)
class Repeated:
    """A file that was made again: where it is, and whether its tensors are those of the first one."""

    path: Path
    same: bool
    hash: str


def again(path: Path, *, taken: Sequence[str] = ()) -> str:
    """Return a name for a file that is made again."""
    return proposed_stem([path.stem, "again"], taken=taken)


def parents_at_hand(order: Order, child: Path, files: Files) -> list[Path]:
    """Return the files that a file was made of.

    Raises:
        InputError: one is not here, or another file has its name.
    """
    found = []
    for parent in order.parents:
        path, state = files.find(parent, child, sure=True)
        if path is None or state != HERE:
            if state == OTHER:
                raise InputError(
                    "The file of this name has other tensors than the one that this file was made of",
                    where=parent.name,
                    cure="Find the one with the hash {hash}.",
                    hash=parent.hash[:12],
                )
            cure = say("Put it into the folder of LoRAs, or beside the file.")
            raise InputError("A file that this one was made of is not here", where=parent.name, cure=cure)
        found.append(path)
    return found


def order_of(path: Path) -> Order:
    """Return what made a file.

    Raises:
        InputError: it does not say; FileError: it cannot be read.
    """
    order = None if is_pickle(path) else read_order(read_header(path).metadata)
    if order is None:
        cure = say("Files that are baked, merged, converted or extracted here note it.")
        raise InputError("The file does not say what it was made of", where=path.name, cure=cure)
    return order


def repeat(
    path: Path,
    target: Path,
    files: Files,
    *,
    model: HasLayers | None = None,
    progress: Progress = QUIET,
) -> Repeated:
    """Make a file again from the files that it was made of, and compare the tensors.

    Args:
        path: the file.
        target: the new one.
        files: where its parents are looked for.
        model: the loaded model, for kinds of changes that depend on its weights.
        progress: is told how far the work is, and may stop it.

    Raises:
        InputError: it does not say what it was made of, a parent is not here, or its model is another one.
        FileError: a file cannot be read or written. StoppedError: somebody asked to stop.
    """
    order = order_of(path)
    parents = parents_at_hand(order, path, files)
    loaded = getattr(model, "path", None)
    if order.base and (loaded is None or loaded.name != order.base):
        cure = say("Load this model, or name its file.")
        raise InputError("The file was made with the weights of another model", where=order.base[:200], cure=cure)
    _carry_out(order, parents, target, model=model if order.base else None, progress=progress)
    old, new = tensor_hash(path), tensor_hash(target)
    return Repeated(target, old == new, new)


def _carry_out(
    order: Order, parents: Sequence[Path], target: Path, *, model: HasLayers | None, progress: Progress
) -> None:
    presets = PresetFile.shipped()  # the rows hold numbers
    try:
        if order.command == MERGE:
            name = str(order.options.get("name", ""))
            merge.write(merge_spec(order, parents), target, presets, model=model, progress=progress, name=name)
        elif order.command == CONVERT:
            conversion.write(parents[0], conversion.ConvertOptions(**order.options), target, progress=progress)
        elif order.command == PRUNE:
            given = {**order.options, "modules": tuple(order.options.get("modules", ()))}
            portions.prune(parents[0], portions.PruneOptions(**given), target, progress=progress)
        elif order.command == SPLIT:
            given = {name: value for name, value in order.options.items() if name != "part"}
            part = str(order.options.get("part", ""))
            portions.split_part(parents[0], portions.SplitOptions(**given), part, target, progress=progress)
        elif order.command == EXTRACT:
            name = str(order.options.get("name", ""))
            extract.write(_extract_spec(order, parents), target, progress=progress, name=name)
        else:
            rows = tuple(Ingredient(path, **parent.row) for path, parent in rows_of(order, parents))
            into_checkpoint.write(into_checkpoint.IntoSpec(parents[0], rows), target, presets, progress=progress)
    except (TypeError, ValueError, KeyError, IndexError) as error:  # options that no version of ours wrote
        cure = say("Make it from its parents by hand.")
        raise InputError("The order in the file cannot be carried out", where=order.command, cure=cure) from error


def rows_of(order: Order, parents: Sequence[Path]) -> list[tuple[Path, Parent]]:
    """Return the LoRAs of a merge, or of an order to write them into a checkpoint, with their files."""
    pairs = [*zip(parents, order.parents, strict=True)]
    return pairs[1:] if order.command == INTO else pairs


def merge_spec(order: Order, parents: Sequence[Path]) -> MergeSpec:
    """Return the order of a merge as its panel and command have it.

    Raises:
        InputError, TypeError: its numbers cannot be right.
    """
    rule, method = order.options.get("rule"), order.options.get("method", {})
    return MergeSpec(
        tuple(Ingredient(path, **parent.row) for path, parent in rows_of(order, parents)),
        RankRule(**rule) if rule else None,
        order.options.get("precision"),
        MethodOptions(**method),
    )


def _extract_spec(order: Order, parents: Sequence[Path]) -> ExtractSpec:
    rule = RankRule(**order.options["rule"])
    given = {name: value for name, value in order.options.items() if name not in ("rule", "name")}
    return ExtractSpec(tuned=parents[0], original=parents[1], rule=rule, **given)

"""Everything that can be said of a LoRA file without applying it, as the terminal and REST give it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lib_lora.formats.contents import Module, contents_of
from lib_lora.formats.files import read_tensors
from lib_lora.formats.hashes import file_hash, tensor_hash
from lib_lora.formats.header import Header
from lib_lora.formats.lora import all_finite
from lib_lora.formats.metadata import describe
from lib_lora.formats.one_by_one import open_tensors
from lib_lora.progress import QUIET, Progress, SubProgress
from lib_lora.sentences import say


def inspection(path: str | Path, progress: Progress = QUIET) -> dict[str, Any]:
    """Describe a LoRA file of any kind: blocks, ranks, kinds, metadata, hashes, and what does not act or was assumed.

    ``progress`` is told how far the hashes are, and may stop them.

    Raises:
        FileError: the file is broken or holds no LoRA; StoppedError: somebody asked to stop.
    """
    path = Path(path)
    found = contents_of(path)
    stored = found.metadata.get("sshs_model_hash", "")
    hashing = SubProgress(progress, 0, 100, 200)
    computed = "" if found.header is None else tensor_hash(path, hashing, header=found.header)
    described = describe(found.metadata)
    return {
        "family": found.family,
        "kinds": [kind.lower() for kind in found.kinds],
        "not_applied": [kind.lower() for kind in found.not_applied],
        "modules": len(found.modules),
        "bytes": path.stat().st_size,
        "blocks": {block: _block(modules) for block, modules in found.blocks().items()},
        "hash": {
            "computed": computed,
            "stored": stored,
            "agrees": computed == stored,
            "whole_file": file_hash(path, SubProgress(progress, 100, 100, 200)),
        },
        "fields": described.fields,
        "facts": described.facts,
        "tags": dict(described.tags),
        "triggers": dict(described.triggers),
        "metadata": found.metadata,
        "unknown_tensors": sorted((*found.extras, *found.unknown)),
        "notes": [*found.remarks(), *_broken_numbers(path, found.header)],
    }


def _broken_numbers(path: Path, header: Header | None) -> list[str]:
    """Return a note where tensors of the file hold NaN or infinite numbers; alphas are told apart already."""
    if header is None:
        broken = [name for name, one in read_tensors(path)[0].items() if not _sound(name, one)]
    else:
        with open_tensors(path, header) as file:
            names = sorted(file.header.tensors, key=lambda name: file.header.tensors[name].start)
            broken = [name for name in names if not _sound(name, file.tensor(name))]
    if not broken:
        return []
    return [
        say("{n} {n:tensor holds|tensors hold} NaN or infinite numbers (e.g. {name}).", n=len(broken), name=broken[0])
    ]


def _sound(name: str, tensor: Tensor) -> bool:
    return name.endswith(".alpha") or all_finite(tensor)


def _block(modules: Sequence[Module]) -> dict[str, Any]:
    ranks = [module.rank for module in modules if module.rank is not None]
    return {"modules": len(modules), "lowest_rank": min(ranks, default=None), "highest_rank": max(ranks, default=None)}

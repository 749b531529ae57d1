"""Everything that can be said of a LoRA file without applying it, as the terminal and REST give it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_lora.formats.contents import Module, contents_of
from lib_lora.formats.files import read_tensors
from lib_lora.formats.hashes import file_hash
from lib_lora.formats.header import Header
from lib_lora.formats.metadata import describe
from lib_lora.formats.read_through import ReadThrough, read_through, unsound
from lib_lora.progress import QUIET, Progress
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
    read = _read(path, found.header, progress)
    described = describe(found.metadata)
    return {
        "family": found.family,
        "kinds": [kind.lower() for kind in found.kinds],
        "not_applied": [kind.lower() for kind in found.not_applied],
        "modules": len(found.modules),
        "bytes": path.stat().st_size,
        "blocks": {block: _block(modules) for block, modules in found.blocks().items()},
        "hash": {
            "computed": read.tensors,
            "stored": stored,
            "agrees": read.tensors == stored,
            "whole_file": read.whole,
        },
        "fields": described.fields,
        "facts": described.facts,
        "tags": dict(described.tags),
        "triggers": dict(described.triggers),
        "metadata": found.metadata,
        "unknown_tensors": sorted((*found.extras, *found.unknown)),
        "notes": [*found.remarks(), *_broken_numbers(read.broken)],
    }


def _read(path: Path, header: Header | None, progress: Progress) -> ReadThrough:
    """Read a file's numbers; a pickle has no hash of its tensors."""
    if header is not None:
        return read_through(path, header, progress)
    return ReadThrough("", file_hash(path, progress), unsound(read_tensors(path)[0]))


def _broken_numbers(names: Sequence[str]) -> list[str]:
    """Return a note where tensors of the file hold NaN or infinite numbers; alphas are told apart already."""
    if not names:
        return []
    return [
        say("{n} {n:tensor holds|tensors hold} NaN or infinite numbers (e.g. {name}).", n=len(names), name=names[0])
    ]


def _block(modules: Sequence[Module]) -> dict[str, Any]:
    ranks = [module.rank for module in modules if module.rank is not None]
    return {"modules": len(modules), "lowest_rank": min(ranks, default=None), "highest_rank": max(ranks, default=None)}

"""What a LoRA file is: kind, ranks, and how much each of its blocks changes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lib_lora.analysis.norms import block_norms, delta_norms
from lib_lora.errors import InputError
from lib_lora.formats.adapters import LoraAdapter
from lib_lora.formats.contents import Contents
from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import describe
from lib_lora.host.base import LoadedModel
from lib_lora.progress import QUIET, Progress


@dataclass(frozen=True)
class BlockFacts:
    """One block: its modules and their ranks ("8" or "4–8"), the norm of its change, and that norm over the weights'.

    ``relative`` is 0 where no model of the file's family is loaded, ``delta`` NaN where the kind of change is only
    described.
    """

    block: str
    modules: int
    ranks: str
    delta: float
    relative: float


@dataclass(frozen=True)
class LoraFacts:
    """A file in numbers; ``trigger`` and ``recommended`` (block weights) are what its metadata says.

    ``notes`` are sentences: what does not act, and what was assumed.
    """

    name: str
    family: str
    kinds: tuple[str, ...]
    rank: str
    modules: int
    size: int
    trigger: str
    recommended: str
    blocks: tuple[BlockFacts, ...]
    notes: tuple[str, ...] = ()

    @property
    def block_names(self) -> tuple[str, ...]:
        """Return the blocks that the file has modules in."""
        return tuple(block.block for block in self.blocks)


def summary_of(lora: LoraFile, model: LoadedModel | None = None, progress: Progress = QUIET) -> LoraFacts:
    """Measure a file; relative to ``model`` where it is of the same family. ``progress`` may stop it."""
    blocks = lora.blocks()
    norms = None
    if model is not None and model.family == lora.family and any(key in model.layers for key in lora.adapters):
        try:
            norms = block_norms(model, lora, progress)
        except InputError:  # of the family, but of other widths (the pocket model): the change alone can be measured
            norms = None
    norms = delta_norms(lora, progress) if norms is None else norms
    said = describe(lora.metadata).fields
    return LoraFacts(
        name=lora.name,
        family=lora.family,
        kinds=_kinds(lora),
        rank=_ranks(lora, list(lora.adapters)),
        modules=len(lora.adapters),
        size=lora.size,
        trigger=said["trigger_words"],
        recommended=said["block_weights"],
        blocks=tuple(
            BlockFacts(norm.block, norm.modules, _ranks(lora, blocks[norm.block]), norm.delta, norm.relative)
            for norm in norms
        ),
    )


def described(contents: Contents) -> LoraFacts:
    """Return the facts of a file with kinds that are not applied here: all but the norms, which need the model."""
    said = describe(contents.metadata).fields
    blocks = contents.blocks()
    return LoraFacts(
        name=contents.path.stem,
        family=contents.family,
        kinds=contents.kinds,
        rank=_range({module.rank for module in contents.modules}),
        modules=len(contents.modules),
        size=contents.size,
        trigger=said["trigger_words"],
        recommended=said["block_weights"],
        blocks=tuple(
            BlockFacts(block, len(modules), _range({module.rank for module in modules}), math.nan, 0.0)
            for block, modules in blocks.items()
        ),
        notes=contents.remarks(),
    )


def _range(found: Collection[int | None]) -> str:
    ranks = sorted(rank for rank in found if rank is not None)
    return "–" if not ranks else str(ranks[0]) if ranks[0] == ranks[-1] else f"{ranks[0]}–{ranks[-1]}"


def _kinds(lora: LoraFile) -> tuple[str, ...]:
    """Return the kinds as people call them; a LoCon's attention layers are LoRAs, which is no other kind."""
    labels = {adapter.label for adapter in lora.adapters.values()}
    return tuple(sorted(labels - ({LoraAdapter.title} if "LoCon" in labels else set())))


def _ranks(lora: LoraFile, keys: Sequence[str]) -> str:
    return _range({lora.adapters[key].stated_rank for key in keys})

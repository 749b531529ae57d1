"""A finished run's LoRA as it is handed on: block weights baked in, fewer ranks, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import AtelierError, InputError
from lib_lora.formats.names import ENDING
from lib_lora.formats.stored_lora import open_lora
from lib_lora.live.targets import HasLayers
from lib_lora.merge.difference import depending, knows
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec, proposed_name, resolve_blocks
from lib_lora.options import find, option, settle
from lib_lora.progress import Progress
from lib_lora.services import merge
from lib_lora.train.options import TrainOptions
from lib_lora.train.run_folder import RunFolder

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier
    from lib_lora.services.jobs.job import Job

KIND = "finish"
PRESETS = ("FACE", "BODY")
"""What CharFramework bakes into a face's and a body's LoRA."""
LEAST = 4
"""The smallest dim that is offered."""


@dataclass(frozen=True)
class FinishOptions:
    """What becomes of a run's LoRA; making one checks it."""

    blocks: str = option(
        "ALL",
        "Blocks (preset or numbers)",
        "Block weights that are baked in: FACE, BODY, another preset, or numbers; ALL bakes none.",
        form="NAME|V,V,…",
    )
    dim: int = option(
        0, "", "Compressed to at most so many directions of each module; 0 leaves them.", low=0, high=100_000
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.blocks.strip() in ("", "ALL") and not self.dim:
            raise InputError(
                "Nothing is to be done with the LoRA",
                where="blocks, dim",
                cure="Give block weights such as FACE, or a dim, or both.",
            )

    @property
    def text(self) -> str:
        """The options in a few letters, which `from_text` reads: ``FACE``, ``FACE@32``, ``ALL@32``."""
        return f"{self.blocks}@{self.dim}" if self.dim else self.blocks

    @classmethod
    def from_text(cls, text: str) -> FinishOptions:
        """Return what `text` wrote."""
        blocks, _, dim = text.partition("@")
        return cls(blocks, find(cls, "dim").parse(dim or "0"))

    def order(self, lora: Path) -> MergeSpec:
        """Return the order for the new file."""
        rule = RankRule("rank", self.dim) if self.dim else None
        return MergeSpec((Ingredient(lora, blocks=self.blocks.strip() or "ALL"),), rule)


def lora_of(run: Path) -> Path:
    """Return a run's finished LoRA, else its newest one; a file is taken as it is.

    Raises:
        InputError: there is none, or the folder holds no run.
    """
    if not run.is_dir():
        return run
    made = RunFolder.open(run).own_loras()
    if not made:
        raise InputError("This run has saved no LoRA yet", where=str(run), cure="Stop and save it, or let it finish.")
    return made[-1]


def target_of(order: MergeSpec, folder: Path, *, out: str = "", taken: Sequence[str] = ()) -> Path:
    """Return where the new file goes; without a name one that tells what was done."""
    return folder / f"{out or proposed_name(order, taken=taken)}{ENDING}"


def offers(
    options: TrainOptions, lora: Path, presets: PresetFile, model: HasLayers | None = None
) -> tuple[FinishOptions, ...]:
    """Return what is offered for a finished run: a face's and a body's weights where its family has them, less dim.

    What depends on the model's weights, such as a DoRA compressed, is left out where ``model`` does not tell them.
    """
    made = every_offer(options, lora, presets)
    if knows(model, _family(lora)):
        return made
    return tuple(one for one in made if not needs_model(one, lora, presets))


def every_offer(options: TrainOptions, lora: Path, presets: PresetFile) -> tuple[FinishOptions, ...]:
    """Return what `offers` has where the model that the run was trained on is at hand."""
    family = _family(lora)
    made = [FinishOptions(blocks=name) for name in PRESETS if family and _fits(name, presets, family)]
    smaller = max(LEAST, options.dim // 4)
    if smaller < options.dim:
        made.append(FinishOptions(dim=smaller))
    return tuple(made)


def needs_model(options: FinishOptions, lora: Path, presets: PresetFile) -> bool:
    """Whether the file to hand on can be made only with the model that the LoRA was trained on."""
    family = _family(lora)
    if not family:
        return False
    weights = resolve_blocks(options.blocks, presets, family)
    chosen = tuple(sorted((weights.as_dict() if weights else {}).items()))
    return _depends(lora, lora.stat().st_mtime_ns, chosen, not options.dim)


def finish(atelier: Atelier, run: str, options: FinishOptions, *, file: str = "", out: str = "") -> tuple[Job, Path]:
    """Queue the making of a run's final file, beside the LoRAs; return the work and the file that comes of it.

    Raises:
        InputError: there is no such run, it has saved no LoRA, or the order cannot be right.
        FileError: there is a file of this name.
    """
    order = options.order(atelier.trainings.lora_of(run, file))
    presets, model = atelier.host.presets, atelier.host.model
    target = target_of(order, atelier.folders.loras, out=out, taken=list(atelier.host.list_loras()))
    merge.check(order, target, overwrite=False)
    (row,) = order.ingredients
    resolve_blocks(row.blocks, presets, open_lora(row.path).family)

    def work(progress: Progress) -> dict[str, Any]:
        made, saved = merge.write(order, target, presets, model=model, progress=progress)
        atelier.host.loras_changed()
        size = {"bytes": saved.stat().st_size, "bytes_before": made.report.bytes_before}
        return {"lora": saved.stem, **size, "blocks": made.report.by_block()}

    return atelier.files.submit(KIND, target.stem, work, about=run), target


def _family(lora: Path) -> str:
    """Return a file's family; empty where it cannot be read."""
    return _read_family(lora, lora.stat().st_mtime_ns) if lora.is_file() else ""


@lru_cache(maxsize=64)
def _read_family(lora: Path, _: int) -> str:
    """Return a file's family, read once for each content: a page asks every second."""
    try:
        return open_lora(lora).family
    except AtelierError:
        return ""


@lru_cache(maxsize=256)
def _depends(lora: Path, _: int, weights: tuple[tuple[str, float], ...], alone: bool) -> bool:
    """Whether baking these weights, alone or with fewer ranks, needs the model; asked once for each content."""
    return bool(depending(open_lora(lora), dict(weights), alone=alone))


def _fits(name: str, presets: PresetFile, family: str) -> bool:
    try:
        return resolve_blocks(name, presets, family) is not None
    except InputError:  # the numbers are another family's, or somebody took the preset away
        return False

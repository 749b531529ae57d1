"""One call for each thing that a program or a notebook asks for; `import lib_lora` offers them (docs/python.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.analysis.effective_block import Analysis
from lib_lora.analysis.fit.options import FitOptions
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.analysis.tiers.result import BlockResult
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.plan import BlockPlan
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag_model import ResolvedTag
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights, finite, fit
from lib_lora.errors import FileError, InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.live.targets import HasLayers
from lib_lora.merge import bake as baking
from lib_lora.merge.budget import SavedAs
from lib_lora.merge.difference import known
from lib_lora.merge.join import join
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.report import MergeReport
from lib_lora.merge.shares import Summand
from lib_lora.merge.spec import resolve_blocks
from lib_lora.options import changed
from lib_lora.progress import QUIET, Progress
from lib_lora.services.analysis_order import analyze_order, order_of, render_order
from lib_lora.services.block_plan import PlanOptions, plan_of
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.fit_order import draw, fit_weights
from lib_lora.services.fitted import Fitted
from lib_lora.services.lone_run import LoneRun
from lib_lora.train.loop import TrainResult
from lib_lora.train.options import TrainOptions

if TYPE_CHECKING:
    from lib_lora.host.studio import StudioHost

Weights = BlockWeights | Mapping[str, float] | Sequence[float] | str | float
"""Block weights as a program may give them: an object, numbers by block, a preset's name, a vector, or one number."""


def open_studio(
    model: str | Path | None = None, *, loras: str | Path | Iterable[str | Path] = (), device: str = "auto"
) -> StudioHost:
    """Load a checkpoint and return a host that renders, trains and analyzes on it.

    Args:
        model: an SD1, SD2 or SDXL checkpoint file; None loads the small model that comes with the project.
        loras: the folder, or the folders, in which a prompt's ``<lora:name:1>`` finds its files.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        InputError, FileError: there is no such model, or it is none of these kinds.
        AtelierError: a package of the studio is missing.
    """
    from lib_lora.host.studio import StudioHost

    folders = [Path(folder) for folder in ((loras,) if isinstance(loras, str | Path) else loras)]
    for folder in folders:
        if folder.is_file():
            raise InputError("This is a file, not a folder", where=str(folder), cure="Give the folder that it lies in.")
    return StudioHost.open(Path(model) if model else None, lora_folders=folders, device=device)


def multipliers(lora: LoraFile, weights: Weights = 1.0, *, presets: PresetFile | None = None) -> dict[str, float]:
    """Return one number for every block of ``lora``, BASE and ``other`` included, as its tag would give.

    Args:
        lora: the file whose family of models decides what a vector means.
        weights: see `Weights`; what a mapping leaves out is 0, except `other`, which no vector names either
            and which stays at 1.
        presets: where a preset's name is looked up; None takes the shipped ones.

    Raises:
        InputError: a name, a vector or a number cannot be right, or a mapping names a block that the family lacks.
    """
    if isinstance(weights, str | Sequence) and not weights:  # elsewhere an empty field is the plain LoRA
        raise InputError("There are no block weights", where="weights", cure="Write numbers or a preset's name.")
    if isinstance(weights, Sequence) and not isinstance(weights, str):
        weights = ",".join(format_number(finite(value, str(at))) for at, value in enumerate(weights))
    if isinstance(weights, str):
        found = resolve_blocks(weights, presets or PresetFile.shipped(), lora.family)
    elif isinstance(weights, BlockWeights):
        found = fit(weights, lora.family)
    elif isinstance(weights, Mapping):
        found = BlockWeights.uniform(full_layout(lora.family), 0.0).replaced(
            {block: finite(value, block) for block, value in weights.items() if block != "other"}
        )
    else:
        strength = finite(weights, lora.name)
        return ResolvedTag(lora.name, te=strength, unet=strength).multipliers(lora.family)
    given = ResolvedTag(lora.name, weights=found).multipliers(lora.family)
    other = {"other": finite(weights["other"], "other")} if isinstance(weights, Mapping) and "other" in weights else {}
    return given | other


def bake(
    lora: LoraFile,
    weights: Weights = 1.0,
    *,
    model: HasLayers | None = None,
    presets: PresetFile | None = None,
    progress: Progress = QUIET,
) -> tuple[LoraFile, MergeReport]:
    """Return a LoRA that holds its block weights in itself, and what that changed.

    Args:
        lora: the LoRA, as `read_lora` gives it.
        weights: see `multipliers`.
        model: a host's ``model``; kinds of adapters that depend on its weights become full differences for it.
        presets: see `multipliers`.
        progress: is told how far it is, and may stop it.

    Raises:
        InputError: the weights cannot be right, or nothing of the LoRA is left.
        StoppedError: somebody asked to stop.
    """
    numbers = multipliers(lora, weights, presets=presets)
    return baking.bake(known(lora, numbers, model, alone=True), numbers, progress)


def add(
    loras: Iterable[LoraFile | tuple[LoraFile, Weights]],
    *,
    method: MethodOptions | None = None,
    rule: RankRule | None = None,
    model: HasLayers | None = None,
    presets: PresetFile | None = None,
    saved: SavedAs | None = None,
    progress: Progress = QUIET,
) -> tuple[LoraFile, MergeReport]:
    """Return LoRAs as one, each alone or with its weights, and what that changed: the exact sum.

    Args:
        loras: what is joined.
        method: another way to join them; see `lib_lora.merge.join` for what a weight means to it.
        rule: ranks that stay; without it none is lost, of `ties` and `dare` as many stay as the sum would have.
        model: a host's ``model``; kinds of adapters that depend on its weights become full differences for it, and the
            rule base_ratio looks at it.
        presets: where a preset's name is looked up; None takes the shipped ones.
        saved: under which name and in which type the file is going to be saved, for a rule that is its size.
        progress: is told how far it is, and may stop it.

    Raises:
        InputError: none is given, two families of models, or weights or a method that cannot be right.
        StoppedError: somebody asked to stop.
    """
    parts = []
    for each in loras:
        lora, weights = each if isinstance(each, tuple) else (each, 1.0)
        numbers = multipliers(lora, weights, presets=presets)
        parts.append(Summand(known(lora, numbers, model, alone=False), numbers))
    joined = join(parts, method or MethodOptions(), rule, progress, model=model, saved=saved)
    return joined.lora, joined.report


def analyze(
    host: Host,
    request: GenerateRequest | str,
    options: AnalyzeOptions | None = None,
    *,
    progress: Progress = QUIET,
    **more: Any,
) -> Analysis:
    """Render the pictures of the Effective Block Analyzer and return how much each block changes.

    Args:
        host: a host, as `open_studio` gives it.
        request: the picture, or its prompt alone; the analyzed LoRA's tag carries XYZ: ``<lora:name:1:XYZ>``.
        options: how blocks are examined; ``more`` are added to them: ``blocks``, ``range``, ``seeds`` …
        progress: is told how far it is, and may stop it.

    Raises:
        InputError: the prompt has no LoRA, or an option cannot be right.
    """
    request = GenerateRequest(request) if isinstance(request, str) else request
    order = order_of(request, changed(options or AnalyzeOptions(), more, where="analyze"), host, FileFacts(host))
    return render_order(order, host, progress).analyses[0]


def analyze_tiers(
    host: Host,
    request: GenerateRequest | str,
    options: AnalyzeOptions | None = None,
    *,
    progress: Progress = QUIET,
    **more: Any,
) -> tuple[BlockResult, ...]:
    """Return what each tier of an analysis finds: ``tier`` norms (at once), prediction (a minute), pictures, or all.

    Args:
        host, request, options, progress: as for `analyze`; ``tier="norms"`` needs no words in the prompt but the tag.

    Raises:
        InputError: there is no LoRA to analyze, or nothing says what its trigger is.
        StoppedError: somebody asked to stop before there was a result.
    """
    request = GenerateRequest(request) if isinstance(request, str) else request
    order = order_of(request, changed(options or AnalyzeOptions(), more, where="analyze_tiers"), host, FileFacts(host))
    return analyze_order(order, host, progress).tiers


def plan(
    weights: str | BlockWeights,
    *,
    presets: PresetFile | None = None,
    **more: Any,
) -> BlockPlan:
    """Return which block weights to try next: one block less or more at a time.

    Args:
        weights: as they are now: a vector, a preset's name, ``NAME:vector`` or sd-scripts' ``down_lr_weight=…``.
        presets: where a preset's name is looked up; None takes the shipped ones.
        more: ``fix``, ``step``, ``mode``, ``fill``, ``family``, as of the command.

    Raises:
        InputError: the weights, a block or a number cannot be right.
    """
    if isinstance(weights, BlockWeights):
        more = {"family": weights.layout.family, **more}
        weights = weights.format()
    return plan_of(changed(PlanOptions(weights), more, where="plan"), presets or PresetFile.shipped()).plan


def find_weights(
    host: Host,
    lora: str,
    options: FitOptions | None = None,
    *,
    picture: str | Path | None = None,
    progress: Progress = QUIET,
    **more: Any,
) -> Fitted:
    """Return the block weights that keep a LoRA's subject and change the model least, measured on what was held out.

    Args:
        host: a host, as `open_studio` gives it.
        lora: the name of a file that the host finds.
        options: how it is searched; ``more`` are added to them: ``images``, ``trigger``, ``keep``, ``halves`` …
        picture: a file for the pictures before and after; without it none are drawn.
        progress: is told how far it is, and may stop it.

    Raises:
        InputError: the LoRA does not fit, has not learned the pictures, or nothing says what its trigger is.
        FileError: a picture cannot be read, or a folder stands where one is to be written.
        StoppedError: somebody asked to stop before there was a result.
    """
    chosen = changed(options or FitOptions(lora), {**more, "lora": lora}, where="find_weights")
    if picture is not None and Path(picture).is_dir():  # before minutes of searching
        raise FileError("A folder has this name", where=str(picture), cure="Choose another name.")
    found = fit_weights(chosen, host, progress)
    return found if picture is None else draw(found, chosen, host, Path(picture), progress)


def train_lora(
    host: Host,
    options: Mapping[str, Any] | TrainOptions | None = None,
    *,
    runs: str | Path = "runs",
    progress: Progress = QUIET,
    **more: Any,
) -> TrainResult:
    """Train a LoRA on a host's model; its file, log, samples and states lie in the folder ``runs``/name.

    Args:
        host: a host, as `open_studio` gives it.
        options: training options, as an object or by name as in an options file; ``more`` are added to them.
        runs: folder of runs.
        progress: is told how far it is, and may stop it.

    Returns:
        The steps, the loss and the file (``.lora``); after a stop, what there is by then.

    Raises:
        InputError: an option cannot be right; nothing was begun.
        FileError: a folder cannot be used.
    """
    values = {**(options.to_dict() if isinstance(options, TrainOptions) else options or {}), **more}
    made = LoneRun.new(lambda: host, values, Path(runs), where="train_lora", progress=progress)
    try:
        return made.work(progress)
    finally:
        made.leave()

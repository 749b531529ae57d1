"""The tiers of an analysis that render nothing: exact norms and changes of the prediction, for an order of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.analysis.effective_block import SweepSpec
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.analysis.tiers.agreement import Agreement, agreements
from lib_lora.analysis.tiers.bars import draw_bars
from lib_lora.analysis.tiers.norm_tier import measure_norms
from lib_lora.analysis.tiers.prediction_tier import PredictionSpec, measure_prediction
from lib_lora.analysis.tiers.result import NORMS, PICTURES, PREDICTION, BlockResult
from lib_lora.atomic import replace_file
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.tag import ParsedTag, readable_tags, strip_tags
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import describe
from lib_lora.host.base import GenerateRequest, Host, is_small
from lib_lora.host.infotext import write_png
from lib_lora.progress import Progress
from lib_lora.sentences import say

NEUTRAL = ("1girl, smile, upper body", "a city street at night", "landscape, mountains, sky", "fruit on a table")
"""Captions that most LoRAs should leave alone."""
NEUTRAL_SMALL = (
    "red apple, blue background",
    "girl light skin tone, pink background",
    "small yellow star",
    "automobile",
)
"""The same in words that the pocket model knows."""
CHUNK, CHUNK_SMALL = 4, 16
"""Block settings in one batch."""
CARRIED = 0.9
"""A vector made from a result keeps the fewest blocks that have this share of what the tier measures."""


@dataclass(frozen=True)
class TierOrder:
    """What the quick tiers need of an order.

    Attributes:
        tag: of the analyzed LoRA.
        plan: of the first range.
        triggers, neutrals: captions for the prediction; empty where it is not asked for.
        notes: where the captions come from, in sentences.
    """

    tag: ParsedTag
    plan: SweepSpec
    triggers: tuple[str, ...] = ()
    neutrals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: GenerateRequest, options: AnalyzeOptions, plan: SweepSpec, host: Host) -> TierOrder:
        """Return what is asked; ``request`` carries XYZ in the tag that is analyzed.

        Raises:
            InputError: the prediction is asked for, and nothing says what the trigger is.
        """
        tags = [tag for tag in readable_tags(request.prompt) if tag.sweep]
        notes: list[str] = []
        if len(readable_tags(request.prompt)) > 1:
            notes.append(
                say("Norms and prediction are those of {name} alone, without the other LoRAs.", name=tags[0].name)
            )
        if PREDICTION not in options.tiers:
            return cls(tags[0], plan, notes=tuple(notes))
        triggers = options.trigger or tuple(filter(None, [strip_tags(request.prompt).strip(" ,")]))
        if not triggers:
            said = describe(host.read_lora(tags[0].name).metadata).fields["trigger_words"]
            triggers = (said,) if said else ()
            notes.append(say("The trigger is what the file says: {text}.", text=said))
        if not triggers:
            raise InputError(
                "It is not known what triggers {name}: the prompt has no words, and the file names none",
                name=tags[0].name,
                where=say("prompt"),
                cure="Write the trigger word into the prompt.",
            )
        small = is_small(host.model.native_side)
        return cls(tags[0], plan, triggers, options.neutral or (NEUTRAL_SMALL if small else NEUTRAL), tuple(notes))


def quick_tiers(
    order: TierOrder,
    request: GenerateRequest,
    options: AnalyzeOptions,
    host: Host,
    filled: frozenset[str],
    progress: Progress,
) -> tuple[BlockResult, ...]:
    """Return the asked tiers that render nothing.

    Raises:
        AtelierError: the file does not fit, or the host does not lend its model. StoppedError: somebody asked to stop.
    """
    lora = host.read_lora(order.tag.name)
    beside = [host.read_lora(name) for name in options.beside]
    found = [measure_norms(lora, host.model if host.model.layers else None, beside=beside, progress=progress)]
    if PREDICTION in options.tiers:
        found.append(_prediction(order, request, options, host, lora, filled, progress))
    return tuple(found)


def _prediction(
    order: TierOrder,
    request: GenerateRequest,
    options: AnalyzeOptions,
    host: Host,
    lora: LoraFile,
    filled: frozenset[str],
    progress: Progress,
) -> BlockResult:
    model = host.model
    spec = PredictionSpec(
        order.plan,
        order.triggers,
        order.neutrals,
        options.levels,
        request.seed,
        request.clip_skip,
        order.tag.te,
        order.tag.unet,
        CHUNK_SMALL if is_small(model.native_side) else CHUNK,
    )
    with lent(host, order.tag.name):
        found = measure_prediction(host.model, lora, spec, filled=filled, progress=progress)
    return BlockResult(**{**vars(found), "notes": (*found.notes, *order.notes)})


@contextmanager
def lent(host: Host, name: str) -> Iterator[None]:
    """Have the host's model for work of our own while the context lasts, its text encoders too."""
    host.check_training(trains_text=False)
    with host.training(name, trains_text=False):
        yield


def save_tiers(results: Sequence[BlockResult], folder: Path) -> tuple[Path, ...]:
    """Write a table and a bar plot for each tier into a folder: ``tier_norms.csv``, ``tier_norms.png``.

    Raises:
        FileError: the disk refuses.
    """
    files = []
    for result in results:
        path = folder / f"tier_{result.tier}.csv"
        files.append(replace_file(path, result.to_csv().encode("utf-8-sig"), what=say("The table")))
        files.append(write_png(path.with_suffix(".png"), draw_bars(result, title=result.lora)))
    return tuple(files)


def vector_of(result: BlockResult, family: str, *, share: float = CARRIED) -> BlockWeights:
    """Return the block weights that a result suggests: 1 in the fewest blocks with ``share`` of it, 0 elsewhere."""
    kept = [block for entry in result.carrying(share) for block in entry.split()]
    layout = full_layout(family)
    return BlockWeights.uniform(layout, 0.0).replaced({block: 1.0 for block in kept if block in layout.names})


def tier_answer(results: Sequence[BlockResult], family: str) -> Mapping[str, Any]:
    """Return results as JSON: each tier with the vector that it suggests, and how far they agree; without sentences."""
    return {
        "tiers": [{**result.as_dict(), "vector": vector_of(result, family).format()} for result in results],
        "agreement": [agreement_row(one) for one in agreements(results)],
    }


def agreement_row(one: Agreement) -> Mapping[str, Any]:
    """Return one agreement as JSON."""
    return {"tiers": [one.one, one.other], "spearman": one.rho, "blocks": one.blocks}


def sentence_of(one: Agreement) -> str:
    """Return an agreement in a sentence."""
    names = {NORMS: say("norms"), PREDICTION: say("prediction"), PICTURES: say("pictures")}
    first, second = names[one.one], names[one.other]
    if one.rho is None:
        return say("Too few blocks to tell how far {one} and {other} agree.", one=first, other=second)
    return say(
        "{one} and {other} rank the blocks with a correlation of {rho:.2f} (1: alike, 0: no relation, -1: reversed).",
        one=first,
        other=second,
        rho=one.rho,
    )

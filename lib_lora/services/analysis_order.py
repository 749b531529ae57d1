"""From a picture and `AnalyzeOptions` to an order, and its work: several ranges in one run, saved as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lib_lora.analysis.effective_block import Analysis, SweepSpec, analyze, pictures_of
from lib_lora.analysis.grid import GridStyle, draw_grid
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.analysis.tiers.picture_tier import draw_maps, picture_result
from lib_lora.analysis.tiers.result import PICTURES, BlockResult
from lib_lora.atomic import replace_file
from lib_lora.blocks.block_list import parse_block_list
from lib_lora.blocks.errors import shorten, suggest
from lib_lora.blocks.layouts import OTHER, Layout, full_layout
from lib_lora.blocks.tag import Span, find_tags, readable_tags
from lib_lora.blocks.tag_edit import change_tag
from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest, Host, check_clip_skip
from lib_lora.host.infotext import write_png
from lib_lora.host.limits import check_order
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import say
from lib_lora.services.block_tiers import TierOrder, quick_tiers, save_tiers
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.jobs.job import Job
from lib_lora.services.outputs import new_folder
from lib_lora.services.prompt_tags import index_of, labels_of
from lib_lora.services.speed import Speed

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

KIND = "analyze"

PARTS = 6
"""In about so many parts a seed is rendered: early enough to see something, large enough to keep the machine busy."""

LARGEST_CELL = 256


@dataclass(frozen=True)
class AnalysisOrder:
    """What is to be analyzed: one plan for each range, over the same pictures.

    Attributes:
        mask: white on the subject, for the judgement of the pictures; None for none.
    """

    request: GenerateRequest
    plans: tuple[SweepSpec, ...]
    filled: frozenset[str]
    options: AnalyzeOptions
    quick: TierOrder
    mask: Image.Image | None = None

    @property
    def pictures(self) -> int:
        """Pictures that will be rendered."""
        return sum(pictures_of(plan, self.filled) for plan in self.plans) if PICTURES in self.options.tiers else 0


@dataclass(frozen=True)
class Found:
    """What an order has found so far: an analysis for each range that was begun, grids, and files once it ended.

    ``tiers`` are the results of the tiers that were asked for, of the first range.
    """

    analyses: tuple[Analysis, ...]
    grids: tuple[tuple[Image.Image | Path, str, int, float], ...]
    files: tuple[Path, ...] = ()
    tiers: tuple[BlockResult, ...] = ()


def order_of(
    request: GenerateRequest,
    options: AnalyzeOptions,
    host: Host,
    files: FileFacts,
    *,
    mask: Image.Image | None = None,
) -> AnalysisOrder:
    """Return the order that picture and options describe; without XYZ in the prompt ``options.lora`` is analyzed.

    Raises:
        AtelierError: an option cannot be right, or there is no LoRA to analyze.
    """
    prompt = _marked(request.prompt, options.lora)
    facts = [files.of(tag.name) for tag in readable_tags(prompt) if tag.sweep]
    filled = frozenset(block for fact in facts for block in fact.blocks)
    layout = full_layout(facts[0].family if facts else host.model.family)
    entries = _entries(options.blocks, layout) or [(name,) for name in layout.names if name in filled]
    plans = tuple(SweepSpec(examined, others, tuple(entries), layout, options) for examined, others in options.ranges)
    request = replace(request, prompt=prompt, batch=1)
    quick = TierOrder.of(request, options, plans[0], host)
    order = AnalysisOrder(request, plans, filled, options, quick, mask)
    for name in options.beside:
        files.of(name)
    check_order(order.request, order.pictures, native_side=host.model.native_side)
    check_clip_skip(request.clip_skip, host.model)
    return order


def _entries(text: str, layout: Layout) -> list[tuple[str, ...]]:
    entries = list(dict.fromkeys(parse_block_list(text, layout)))
    if any(OTHER in entry for entry in entries):
        cure = say("Leave it out here; in a tag, other= sets it.")
        raise InputError("Modules outside of all blocks, “other”, cannot be examined", where="blocks", cure=cure)
    return entries


def submit(atelier: Atelier, order: AnalysisOrder, title: str) -> Job:
    """Queue an order."""
    speed = Speed.of(atelier)

    def work(job: Job) -> Found:
        return run(order, atelier.host, job, outputs=atelier.folders.outputs, speed=speed)

    return atelier.queue.submit(KIND, title, work)


def _marked(prompt: str, label: str) -> str:
    """Return the prompt with XYZ in the chosen tag, unless a tag carries it already."""
    matches = find_tags(prompt)
    if any(tag.sweep for tag in readable_tags(prompt)):
        return prompt
    if not prompt.strip() and label:
        return f"<lora:{label}:1:XYZ>"
    if not matches:
        raise InputError(
            "No LoRA of the prompt carries XYZ, so nothing would change",
            where=say("prompt"),
            cure="Write <lora:NAME:1:XYZ> for the LoRA to be analyzed.",
        )
    if label:
        label = _label(label, labels_of(prompt))
    return change_tag(prompt, index_of(prompt, label), lambda tag: replace(tag, weights=Span("XYZ", 0), x=None))


def _label(name: str, labels: Sequence[str]) -> str:
    """Return the label of the LoRA that is to be analyzed: exactly so written before any case.

    Raises:
        InputError: no tag has this name; another LoRA's result would be taken for its own.
    """
    found = [label for label in labels if label == name] or [one for one in labels if one.casefold() == name.casefold()]
    if not found:
        cure = suggest(name, labels) or say("It has: {names}.", names=labels)
        raise InputError("The prompt has no LoRA “{name}”", name=shorten(name), where="lora", cure=cure)
    return found[0]


def run(order: AnalysisOrder, host: Host, job: Job, *, outputs: Path, speed: Speed) -> Found:
    """Work on an order in the job queue: show each part, save what there is at the end or after a stop."""
    began = time.monotonic()
    found = analyze_order(order, host, job, show=job.show)
    if not job.stopped and order.pictures:
        seconds = time.monotonic() - began
        side = host.model.native_side
        speed.record(host.model.name, order.request, side=side, pictures=order.pictures, seconds=seconds)
    return save(found, new_folder(outputs / "analysis")) if found.grids or found.tiers else found


def analyze_order(
    order: AnalysisOrder, host: Host, progress: Progress, *, show: Callable[[Found], None] | None = None
) -> Found:
    """Return what an order finds, or found before a stop; nothing is saved. ``show`` is given what there is so far."""
    quick = quick_tiers(order.quick, order.request, order.options, host, order.filled, progress)
    if PICTURES not in order.options.tiers:
        return Found((), (), tiers=quick)
    found = render_order(order, host, progress, show=show)
    judged = [picture_result(each, lora=order.quick.tag.name, mask=order.mask) for each in found.analyses[:1]]
    return replace(found, tiers=(*quick, *judged))


def render_order(
    order: AnalysisOrder, host: Host, progress: Progress, *, show: Callable[[Found], None] | None = None
) -> Found:
    """Return what the pictures of an order show, without its other tiers; else as `analyze_order`."""
    before: list[Analysis] = []
    total, done = order.pictures * order.request.steps, 0
    for plan in order.plans:
        count = pictures_of(plan, order.filled)
        units = count * order.request.steps

        def so_far(found: Analysis) -> None:
            if show is not None:
                show(_found(order, [*before, found]))

        share = SubProgress(progress, done, units, total)
        part = max(1, count // plan.options.seeds // PARTS)
        found = analyze(host, order.request, plan, filled=order.filled, progress=share, part=part, show=so_far)
        before.append(found)
        done += units
        if progress.stopped:
            break
    return _found(order, before)


def _found(order: AnalysisOrder, analyses: Sequence[Analysis]) -> Found:
    grids = []
    for analysis in analyses:
        style = GridStyle(
            cell=min(LARGEST_CELL, *(source.width for source in analysis.sources), LARGEST_CELL),
            transpose=not order.options.rows,
        )
        for number in range(len(analysis.sources) if analysis.rows else 0):
            picture = draw_grid(analysis, title=order.request.prompt, seed_index=number, style=style)
            grids.append((picture, range_text(analysis.plan), order.request.later(number).seed, analysis.gain))
    return Found(tuple(analyses), tuple(grids))


def save(found: Found, folder: Path) -> Found:
    """Write grids and tables into a folder, each with its range in its name: ``grid_0_1_42.png``, ``blocks_0_1.csv``.

    Raises:
        FileError: the disk refuses.
    """
    grids, files = [], []
    for picture, text, seed, gain in found.grids:
        path = folder / f"grid_{text.replace('/', '_')}_{seed}.png"
        grids.append((write_png(path, picture), text, seed, gain))
    for analysis in found.analyses:
        path = folder / table_name(analysis.plan.examined, analysis.plan.others)
        # The mark in front lets spreadsheet programs read the file as UTF-8.
        files.append(replace_file(path, analysis.to_csv().encode("utf-8-sig"), what=say("The table")))
    files += save_tiers(found.tiers, folder)
    for result in found.tiers:
        if result.tier == PICTURES and found.analyses[0].sources:
            maps = draw_maps(found.analyses[0], result, title=result.lora)
            files.append(write_png(folder / "maps.png", maps))
    return replace(found, grids=tuple(grids), files=(*files, *(path for path, *_ in grids)))


def table_name(examined: float, others: float) -> str:
    """Return the name of a range's table: ``blocks_0_1.csv``."""
    return f"blocks_{examined:g}_{others:g}.csv"


def answer(analysis: Analysis) -> dict[str, Any]:
    """Return one range as JSON: its blocks with their percentages; its notes are said in the caller's language."""
    return {
        "range": range_text(analysis.plan),
        "noise_floor": analysis.noise_floor,
        "gain": analysis.gain,
        "finished": analysis.finished,
        "blocks": {
            row.name: {"percent": row.mean, "spread": row.spread, "modules": row.has_modules} for row in analysis.rows
        },
        "ranking": [row.name for row in analysis.ranking()],
    }


def range_text(plan: SweepSpec) -> str:
    """Return a range as it is shown: examined / others."""
    return f"{plan.examined:g}/{plan.others:g}"

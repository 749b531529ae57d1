"""The planned variants as pictures: rendered in one sweep, each vector once, saved one by one and as a grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lib_lora.analysis.comparison import Cell, Comparison, draw_comparison
from lib_lora.analysis.difference import changed_percentage
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.blocks.errors import TagError
from lib_lora.blocks.plan import BlockPlan, Picture
from lib_lora.blocks.tag import Span, find_tags, parse_tag
from lib_lora.blocks.tag_edit import change_tag, put_tag
from lib_lora.errors import AtelierError
from lib_lora.host.base import GenerateRequest, Host, check_clip_skip
from lib_lora.host.infotext import write_png
from lib_lora.host.limits import check_order
from lib_lora.options import find
from lib_lora.progress import Progress, SubProgress
from lib_lora.services.jobs.job import Job
from lib_lora.services.outputs import new_folder
from lib_lora.services.speed import Speed

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier

KIND = "plan"
SEEDS = replace(find(AnalyzeOptions, "seeds"), high=8)
"""How many seeds each variant is rendered with."""
PARTS, LEAST = 6, 4
"""In about so many parts a seed is rendered, of so many pictures at least: seen early, and still computed together."""
ACROSS = 6
"""Pictures side by side in the grid's file."""


@dataclass(frozen=True)
class PlanOrder:
    """What is rendered: a plan of a LoRA, in the pictures of a request (``batch``: 1) and the seeds behind its own."""

    lora: str
    plan: BlockPlan
    request: GenerateRequest
    seeds: int = 1

    @property
    def pictures(self) -> int:
        """How many pictures that is."""
        return self.seeds * len(self.plan.pictures)


@dataclass(frozen=True)
class Shown:
    """One variant as it was rendered: a file for each seed, and by how much it differs from the base, in percent.

    ``changed`` is the share of color values that change by more than the analyzer's usual threshold, as a mean over
    the seeds; None for the base.
    """

    picture: Picture
    files: tuple[Path, ...]
    changed: float | None


@dataclass(frozen=True)
class PlanPictures:
    """What an order has made so far; ``grids`` once it has ended."""

    order: PlanOrder
    shown: tuple[Shown, ...] = ()
    grids: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[AtelierError, ...] = ()
    seconds: float = 0.0


def order_of(lora: str, plan: BlockPlan, request: GenerateRequest, host: Host, *, seeds: int = 1) -> PlanOrder:
    """Return the order for a plan's pictures; the LoRA's tag of the prompt carries the variants, else one is put in.

    Raises:
        InputError: the order is too large, or a number cannot be right.
    """
    request = replace(request, prompt=swept(request.prompt, lora), batch=1)
    order = PlanOrder(lora, plan, request, SEEDS.read(seeds))
    check_order(request, order.pictures, native_side=host.model.native_side)
    check_clip_skip(request.clip_skip, host.model)
    return order


def swept(prompt: str, lora: str) -> str:
    """Return a prompt in which every tag of a LoRA carries XYZ, with its strengths; without one a tag at the end."""
    found = False
    for index, match in enumerate(find_tags(prompt)):
        try:
            named = parse_tag(match.text).name == lora
        except TagError:  # said with the pictures
            continue
        if named:
            found = True
            prompt = change_tag(prompt, index, lambda tag: replace(tag, weights=Span("XYZ", 0), x=None))
    return prompt if found else put_tag(prompt, f"<lora:{lora}:1:XYZ>")


def submit(atelier: Atelier, order: PlanOrder, title: str) -> Job:
    """Queue an order; its pictures go into a new folder of the outputs."""
    speed = Speed.of(atelier)

    def work(job: Job) -> PlanPictures:
        began = time.monotonic()
        folder = new_folder(atelier.folders.outputs / "plans")
        made = render(order, atelier.host, job, folder, show=job.show)
        if not job.stopped:
            model = atelier.host.model
            seconds = time.monotonic() - began
            speed.record(model.name, order.request, side=model.native_side, pictures=order.pictures, seconds=seconds)
        return made

    return atelier.queue.submit(KIND, title, work, about=order.lora)


def render(
    order: PlanOrder,
    host: Host,
    progress: Progress,
    folder: Path,
    *,
    show: Callable[[PlanPictures], None] = lambda made: None,
) -> PlanPictures:
    """Render an order, each picture saved into ``folder`` as it comes; a stop keeps what is finished.

    Raises:
        AtelierError: the LoRA or the prompt cannot be used, or the disk refuses.
    """
    sheet, request = _Sheet(order, folder), order.request
    wanted = order.plan.pictures
    size = max(LEAST, -(-len(wanted) // PARTS))
    for number in range(order.seeds):
        seeded = request.later(number)
        for start in range(0, len(wanted), size):
            part = wanted[start : start + size]
            share = SubProgress(
                progress, sheet.count * request.steps, len(part) * request.steps, order.pictures * request.steps
            )
            made = host.generate(replace(seeded, sweep=tuple(one.weights for one in part)), share)
            for one, image, text in zip(part, made.images, made.infotexts, strict=False):
                sheet.add(one, image, text, seeded.seed)
            sheet.notes.update(dict.fromkeys(made.notes))
            sheet.problems = made.problems
            if len(made.images) < len(part):
                return sheet.finished()
            show(sheet.so_far())
    return sheet.finished()


@dataclass
class _Sheet:
    """The variants while they are rendered."""

    order: PlanOrder
    folder: Path
    count: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    problems: tuple[AtelierError, ...] = ()
    _files: dict[Picture, list[Path]] = field(default_factory=dict)
    _changed: dict[Picture, list[float]] = field(default_factory=dict)
    _bases: dict[int, Image.Image] = field(default_factory=dict)
    _cells: dict[int, list[Cell]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def add(self, one: Picture, image: Image.Image, text: str, seed: int) -> None:
        """Save a picture and compare it with the base of its seed, which comes first."""
        self.count += 1
        path = self.folder / f"{self.count:03d}_{one.variants[0].name}_{seed}.png"
        self._files.setdefault(one, []).append(write_png(path, image, text))
        base = self._bases.setdefault(seed, image)
        lines: tuple[str, ...] = ()
        if one.block:
            changed = changed_percentage(image, base, threshold=find(AnalyzeOptions, "threshold").default)
            self._changed.setdefault(one, []).append(changed)
            lines = (f"{changed:.2f} %",)
        self._cells.setdefault(seed, []).append(Cell(image, lines, head=one.name))

    def so_far(self) -> PlanPictures:
        """Return what there is."""
        shown = tuple(
            Shown(one, tuple(files), sum(found) / len(found) if (found := self._changed.get(one)) else None)
            for one, files in self._files.items()
        )
        seconds = time.monotonic() - self._began
        return PlanPictures(self.order, shown, (), tuple(self.notes), self.problems, seconds)

    def finished(self) -> PlanPictures:
        """Return what there is, with a grid for each seed."""
        grids = []
        for seed, cells in self._cells.items():
            lines = [cells[start : start + ACROSS] for start in range(0, len(cells), ACROSS)]
            comparison = Comparison(self.order.request.prompt, self.order.plan.base.format(), "", lines)
            grids.append(write_png(self.folder / f"grid_{seed}.png", draw_comparison(comparison)))
        return replace(self.so_far(), grids=tuple(grids))

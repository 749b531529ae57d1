"""The Effective Block Analyzer: put one value into one block, another into all others, and look what changes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image

from lib_lora.analysis.difference import changed_percentage, difference_picture
from lib_lora.blocks.layouts import Layout
from lib_lora.blocks.tag import find_tags, parse_tag
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError
from lib_lora.host.base import GenerateRequest, GenerateResult, Progress


class Renders(Protocol):
    """The part of a host that the analyzer needs."""

    def generate(self, request: GenerateRequest, progress: Progress) -> GenerateResult:
        """Return the pictures of ``request``."""
        ...


@dataclass(frozen=True)
class Plan:
    """What to analyse.

    Attributes:
        examined: value put into the examined block (the first number of Range).
        others: value of every other block (the second number of Range).
        entries: the examined blocks; an entry may be several blocks together.
        layout: the layout that the values are written in.
        seeds: how many seeds, counted up from the request's.
        threshold: level difference that counts as a change, 0 to 255.
        colour: background of the difference pictures.
        gain: contrast of the difference pictures; the percentage does not know it.
    """

    examined: float
    others: float
    entries: tuple[tuple[str, ...], ...]
    layout: Layout
    seeds: int = 1
    threshold: int = 20
    colour: str = "black"
    gain: float = 1.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.examined, self.others)):
            raise InputError("Range takes two finite numbers", where="range", cure="For example 0,1.")
        if self.seeds < 1 or not 0 <= self.threshold <= 255 or self.gain <= 0:
            raise InputError("seeds from 1, threshold from 0 to 255, gain above 0", where="analyze")
        if not self.entries:
            raise InputError("no block is named", where="blocks", cure="For example 26ALL or IN04,M00,OUT03-OUT05.")

    def source(self) -> BlockWeights:
        """Return the weights of the source picture: every block at ``others``."""
        return BlockWeights.uniform(self.layout, self.others)

    def weights(self, entry: Sequence[str]) -> BlockWeights:
        """Return the weights with one entry examined."""
        return self.source().replaced(dict.fromkeys(entry, self.examined))


def parse_range(text: str) -> tuple[float, float]:
    """Return the two numbers of Range, ``examined,others``."""
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"Range is “{text}”",
            where="range",
            cure="Give two numbers: the examined block's value, then all others', e.g. 0,1.",
        ) from error
    return first, second


@dataclass(frozen=True)
class Cell:
    """One examined entry under one seed; ``image`` is None where nothing had to be rendered."""

    image: Image.Image | None
    difference: Image.Image | None
    percentage: float


@dataclass(frozen=True)
class Row:
    """One examined entry: a cell a seed, and whether the file has modules in it at all."""

    entry: tuple[str, ...]
    has_modules: bool
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The entry as a person writes it."""
        return " ".join(self.entry)

    @property
    def mean(self) -> float:
        """Mean percentage over the seeds."""
        return sum(cell.percentage for cell in self.cells) / len(self.cells)

    @property
    def spread(self) -> float:
        """Standard deviation of the percentage over the seeds."""
        mean = self.mean
        return math.sqrt(sum((cell.percentage - mean) ** 2 for cell in self.cells) / len(self.cells))


@dataclass(frozen=True)
class Analysis:
    """What an analysis found; after a stop it has fewer seeds, and ``finished`` is False."""

    plan: Plan
    sources: tuple[Image.Image, ...]
    noise_floor: float
    rows: tuple[Row, ...]
    finished: bool

    def ranking(self) -> list[Row]:
        """Return the rows with modules, the largest change first."""
        return sorted((row for row in self.rows if row.has_modules), key=lambda row: -row.mean)

    def to_csv(self) -> str:
        """Return block, mean percentage, spread, every seed, and the noise floor as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        seeds = [f"seed +{n} %" for n in range(len(self.sources))]
        writer.writerow(["block", "mean %", "spread %", *seeds, "modules", "above noise floor"])
        for row in self.rows:
            values = [f"{cell.percentage:.3f}" for cell in row.cells]
            above = "yes" if row.mean > self.noise_floor else "no"
            writer.writerow(
                [row.name, f"{row.mean:.3f}", f"{row.spread:.3f}", *values, "yes" if row.has_modules else "no", above]
            )
        writer.writerow(["noise floor", f"{self.noise_floor:.3f}"])
        return text.getvalue()


def analyse(
    host: Renders, request: GenerateRequest, plan: Plan, *, filled: frozenset[str], progress: Progress | None = None
) -> Analysis:
    """Render the source twice and every entry once, for each seed, many block settings in one batch.

    Args:
        host: renders the pictures.
        request: prompt with a tag that names ``XYZ`` (or ``ZYX``), seed, steps, size.
        plan: what to examine.
        filled: blocks in which the swept LoRAs have modules; the others change nothing and are not rendered.
        progress: told of every step; a stop keeps the seeds that are finished.

    Raises:
        InputError: no tag of the prompt carries XYZ or ZYX.
    """
    tags = [parse_tag(found.text) for found in find_tags(request.prompt)]
    if not any(tag.sweep for tag in tags):
        raise InputError(
            "no LoRA of the prompt carries XYZ, so nothing would change",
            where="prompt",
            cure="Write <lora:NAME:1:XYZ> for the LoRA to be analysed.",
        )
    progress = progress or Progress()
    rendered = [entry for entry in plan.entries if any(block in filled for block in entry)]
    sources: list[Image.Image] = []
    floors: list[float] = []
    table: dict[tuple[str, ...], list[Cell]] = {entry: [] for entry in plan.entries}
    for number in range(plan.seeds):
        sweep = (plan.source(), *(plan.weights(entry) for entry in rendered))
        seeded = replace(request, seed=request.seed + number, sweep=sweep, batch=1)
        result = host.generate(seeded, progress)
        if len(result.images) < len(sweep):
            return _finish(plan, sources, floors, table, filled, result.images, rendered)
        again = host.generate(replace(seeded, sweep=(plan.source(),)), progress)
        floors.append(
            changed_percentage(again.images[0], result.images[0], threshold=plan.threshold) if again.images else 0.0
        )
        _add_seed(plan, sources, table, result.images, rendered)
    return _finish(plan, sources, floors, table, filled, (), rendered)


def _add_seed(
    plan: Plan,
    sources: list[Image.Image],
    table: dict[tuple[str, ...], list[Cell]],
    images: Sequence[Image.Image],
    rendered: Sequence[tuple[str, ...]],
) -> None:
    """Compare one seed's pictures with its source and put them into the table."""
    source, *changed = images
    sources.append(source)
    found = dict(zip(rendered, changed, strict=False))
    for entry, cells in table.items():
        image = found.get(entry)
        if image is None:
            cells.append(Cell(None, None, 0.0))
            continue
        shown = difference_picture(image, source, colour=plan.colour, gain=plan.gain)
        cells.append(Cell(image, shown, changed_percentage(image, source, threshold=plan.threshold)))


def _finish(
    plan: Plan,
    sources: list[Image.Image],
    floors: list[float],
    table: dict[tuple[str, ...], list[Cell]],
    filled: frozenset[str],
    partial: Sequence[Image.Image],
    rendered: Sequence[tuple[str, ...]],
) -> Analysis:
    """Return what there is; of a first seed that was stopped, the entries that were finished."""
    finished = len(sources) == plan.seeds
    if not sources and partial:
        done = rendered[: len(partial) - 1]
        empty = [entry for entry in plan.entries if entry not in rendered]
        table = {entry: [] for entry in table if entry in done or entry in empty}
        _add_seed(plan, sources, table, partial, done)
    rows = tuple(
        Row(entry, any(block in filled for block in entry), tuple(cells)) for entry, cells in table.items() if cells
    )
    return Analysis(plan, tuple(sources), max(floors, default=0.0), rows, finished)

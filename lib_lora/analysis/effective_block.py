"""The Effective Block Analyzer: put one value into one block, another into all others, and look what changes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from lib_lora.analysis.difference import changed_percentage, gain_for, typical_peak
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.blocks.layouts import Layout
from lib_lora.blocks.tag import readable_tags
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import GenerateRequest, Host
from lib_lora.progress import Progress, SubProgress
from lib_lora.sentences import say


@dataclass(frozen=True)
class SweepSpec:
    """What to analyze.

    Attributes:
        examined: value put into the examined block (the first number of Range).
        others: value of every other block (the second number of Range).
        entries: the examined blocks; an entry may be several blocks together.
        layout: the layout that the values are written in.
        options: seeds, threshold, and how differences are shown.
    """

    examined: float
    others: float
    entries: tuple[tuple[str, ...], ...]
    layout: Layout
    options: AnalyzeOptions = field(default_factory=AnalyzeOptions)

    def __post_init__(self) -> None:
        if not self.entries:
            raise InputError(
                "No block is named", where=say("blocks"), cure="For example 26ALL or IN04,M00,OUT03-OUT05."
            )

    def source(self) -> BlockWeights:
        """Return the weights of the source picture: every block at ``others``."""
        return BlockWeights.uniform(self.layout, self.others)

    def weights(self, entry: Sequence[str]) -> BlockWeights:
        """Return the weights with one entry examined."""
        return self.source().replaced(dict.fromkeys(entry, self.examined))


@dataclass(frozen=True)
class Cell:
    """One examined entry under one seed; ``image`` is None where nothing had to be rendered.

    ``peak`` is the level that nearly all of its difference from the source stays at or below.
    """

    image: Image.Image | None
    percentage: float
    peak: int = 0


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
    """What an analysis found; after a stop it has fewer seeds, and ``finished`` is False.

    ``notes`` are what the pictures' results had to say: of the tags, and of modules that fit no layer;
    ``problems`` are the tags that were left out.
    """

    plan: SweepSpec
    sources: tuple[Image.Image, ...]
    noise_floor: float
    rows: tuple[Row, ...]
    finished: bool
    notes: tuple[str, ...] = ()
    problems: tuple[AtelierError, ...] = ()

    @property
    def gain(self) -> float:
        """The contrast of all difference pictures: the plan's, or what makes the largest change visible."""
        return self.plan.options.gain or gain_for(
            max((cell.peak for row in self.rows for cell in row.cells), default=0)
        )

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


def analyze(
    host: Host,
    request: GenerateRequest,
    plan: SweepSpec,
    *,
    filled: frozenset[str],
    progress: Progress | None = None,
    part: int | None = None,
    show: Callable[[Analysis], None] | None = None,
) -> Analysis:
    """Render the source twice and every entry once, for each seed, many block settings in one batch.

    Args:
        host: renders the pictures.
        request: prompt with a tag that names ``XYZ`` (or ``ZYX``), seed, steps, size.
        plan: what to examine.
        filled: blocks in which the swept LoRAs have modules; the others change nothing and are not rendered.
        progress: told where the whole analysis stands; a stop keeps the seeds that are finished, of the first seed
            the parts that are.
        part: how many pictures are ordered together, so that something can be seen early; None: a whole seed.
        show: called with what there is after each part.

    Raises:
        InputError: no tag of the prompt carries XYZ or ZYX.
    """
    if not any(tag.sweep for tag in readable_tags(request.prompt)):
        raise InputError(
            "No LoRA of the prompt carries XYZ, so nothing would change",
            where=say("prompt"),
            cure="Write <lora:NAME:1:XYZ> for the LoRA to be analyzed.",
        )
    sheet = _Sheet(plan, filled)
    progress, total = progress or Progress(), pictures_of(plan, filled) * request.steps
    for number in range(plan.options.seeds):
        seeded = request.later(number)
        for orders in sheet.orders(part):
            units = len(orders) * request.steps
            share = SubProgress(progress, sheet.rendered * request.steps, units, total)
            made = host.generate(replace(seeded, sweep=tuple(weights for _, weights in orders)), share)
            sheet.add([entry for entry, _ in orders], made.images)
            sheet.notes.update(dict.fromkeys(made.notes))
            sheet.problems = made.problems
            if len(made.images) < len(orders):
                return sheet.analysis()
            if show is not None:
                show(sheet.analysis())
        sheet.close_seed()
    return sheet.analysis()


def pictures_of(plan: SweepSpec, filled: frozenset[str]) -> int:
    """Return how many pictures an analysis renders: per seed the source twice, and every entry that has modules."""
    return plan.options.seeds * (2 + sum(1 for entry in plan.entries if any(block in filled for block in entry)))


_Order = tuple[tuple[str, ...] | None, BlockWeights]
"""An entry and its weights; None: the source."""


class _Sheet:
    """The table while it is filled: whole seeds, and the one that is being rendered."""

    def __init__(self, plan: SweepSpec, filled: frozenset[str]) -> None:
        self._plan = plan
        self._examined = [entry for entry in plan.entries if any(block in filled for block in entry)]
        self._sources: list[Image.Image] = []
        self._seeds: list[dict[tuple[str, ...], Cell]] = []
        self._floors: list[float] = []
        self._source: Image.Image | None = None
        self._cells: dict[tuple[str, ...], Cell] = {}
        self.rendered = 0
        self.notes: dict[str, None] = {}
        self.problems: tuple[AtelierError, ...] = ()

    def orders(self, part: int | None) -> list[list[_Order]]:
        """Return one seed's orders in parts; the source is first, and alone once more for the noise floor."""
        plan = self._plan
        wanted: list[_Order] = [(None, plan.source()), *((entry, plan.weights(entry)) for entry in self._examined)]
        size = part or len(wanted)
        parts = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        return [parts[0], [(None, plan.source())], *parts[1:]]

    def add(self, entries: Sequence[tuple[str, ...] | None], images: Sequence[Image.Image]) -> None:
        """Compare finished pictures with the seed's source; the source's repetition gives the noise floor."""
        plan = self._plan
        for entry, image in zip(entries, images, strict=False):
            self.rendered += 1
            if self._source is None:
                self._source = image
            elif entry is None:
                self._floors.append(changed_percentage(image, self._source, threshold=plan.options.threshold))
            else:
                changed = changed_percentage(image, self._source, threshold=plan.options.threshold)
                self._cells[entry] = Cell(image, changed, typical_peak(image, self._source))

    def close_seed(self) -> None:
        """Put the seed that is rendered into the table."""
        if self._source is not None:
            self._sources.append(self._source)
            self._seeds.append(self._cells)
        self._source, self._cells = None, {}

    def analysis(self) -> Analysis:
        """Return what there is; of a first seed that is not finished, the entries that are."""
        finished = len(self._sources) == self._plan.options.seeds
        sources, seeds = list(self._sources), list(self._seeds)
        if not sources and self._source is not None:
            sources, seeds = [self._source], [self._cells]
        nothing = Cell(None, 0.0)
        rows = []
        for entry in self._plan.entries if sources else ():
            if entry not in self._examined:
                rows.append(Row(entry, False, (nothing,) * len(seeds)))
            elif all(entry in cells for cells in seeds):
                rows.append(Row(entry, True, tuple(cells[entry] for cells in seeds)))
        floor = max(self._floors, default=0.0)
        return Analysis(
            self._plan, tuple(sources), floor, tuple(rows), finished, notes=tuple(self.notes), problems=self.problems
        )

"""What a report says, as values: sections of pictures, curves, tables, goals, bars, a grid and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from lib_lora.errors import InputError
from lib_lora.sentences import Sentence, say

Cell: TypeAlias = "Path | Image.Image | None"


def _require(condition: bool, what: Sentence, *, where: Sentence, cure: Sentence) -> None:
    if not condition:
        raise InputError(what, where=where, cure=cure)


@dataclass(frozen=True)
class PictureRow:
    """One row of pictures; None is a place without a picture; captions are empty or one per cell."""

    label: str
    cells: tuple[Cell, ...]
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """Pictures to compare: one column for each way of making them, one row for each prompt or seed."""

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[PictureRow, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            where = say("pictures {title!r}, row {n!r}", title=self.title, n=row.label)
            cure = say("Give {n} of them, one for each column.", n=len(self.columns))
            _require(len(row.cells) == len(self.columns), say("{n} pictures", n=len(row.cells)), where=where, cure=cure)
            fits = len(row.captions) in (0, len(self.columns))
            _require(fits, say("{n} captions", n=len(row.captions)), where=where, cure=cure)


@dataclass(frozen=True)
class Series:
    """One line of a plot: (x, y) points from left to right; a value that is not finite leaves a gap."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """A plot of one or more series."""

    title: str
    text: str
    series: tuple[Series, ...]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Table:
    """A table of words and numbers, already formatted."""

    title: str
    text: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            _require(
                len(row) == len(self.headers),
                say("{n} cells", n=len(row)),
                where=say("table {title!r}, row {n}", title=self.title, n=number),
                cure=say("Give {n}, one for each header.", n=len(self.headers)),
            )


@dataclass(frozen=True)
class Goal:
    """One measured number beside what was wanted of it."""

    name: str
    value: str
    goal: str
    reached: bool


@dataclass(frozen=True)
class Goals:
    """The measured numbers and whether each reached its goal."""

    title: str
    rows: tuple[Goal, ...]


@dataclass(frozen=True)
class BlockBars:
    """One bar for each block, in the order of the mapping."""

    title: str
    text: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Grid:
    """One large picture, such as the block grid."""

    title: str
    text: str
    image: Path


@dataclass(frozen=True)
class Commands:
    """Commands to repeat the result, one entry a command (which may have several lines)."""

    title: str
    text: str
    commands: tuple[str, ...]


Section: TypeAlias = Pictures | Curve | Table | Goals | BlockBars | Grid | Commands


@dataclass(frozen=True)
class Report:
    """A page: its title, the result in one sentence, and the sections in their order."""

    title: str
    verdict: str
    language: str
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        known = self.language in ("en", "ja")
        _require(
            known,
            say("Unknown language {language!r}", language=self.language),
            where=say("report"),
            cure=say("Use en or ja."),
        )

    def goals(self) -> tuple[Goal, ...]:
        """All goals of all sections."""
        return tuple(goal for section in self.sections if isinstance(section, Goals) for goal in section.rows)

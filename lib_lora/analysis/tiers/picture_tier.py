"""Tier 3, the judge: what an analysis in pictures found, where in the picture each change falls, and what it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lib_lora.analysis.comparison import Cell, Comparison, draw_comparison
from lib_lora.analysis.effective_block import Analysis, Row
from lib_lora.analysis.tiers.result import PICTURES, BlockResult, BlockRow, Column, Value
from lib_lora.errors import InputError
from lib_lora.sentences import say

COLORS = 0.5
"""From this share of a change's energy in the chroma on it is said to be one of colors."""
MOSTLY = 0.7
"""From this share of a change on it is said to fall mostly on one side of the mask."""
ONE_PLACE = 0.25
"""A change of which nine tenths lie in at most this share of the pixels is said to be in one place."""
ACROSS = 6
"""Maps side by side."""
_HOT = np.array((235, 60, 20), np.float32)


def picture_result(analysis: Analysis, *, lora: str = "", mask: Image.Image | None = None) -> BlockResult:
    """Return an analysis as every tier gives it.

    Args:
        analysis: pictures of every entry and seed.
        lora: the file's name.
        mask: white on the subject; of any size, stretched to the picture. The percentage then splits into what changes
            on the subject (wanted) and elsewhere (unwanted).
    """
    columns = [Column("change", say("color values that change"), "%")]
    if mask is not None:
        columns += [
            Column("wanted", say("of them on the subject"), "%"),
            Column("unwanted", say("of them outside the subject"), "%"),
        ]
    columns.append(Column("colors", say("share of the change that is color"), "%"))
    notes = list(analysis.notes)
    if mask is not None and len(analysis.sources) > 1:
        notes.append(
            say("The mask is used for all {n} seeds, though the subject may stand elsewhere.", n=len(analysis.sources))
        )
    rows = tuple(_row(analysis, row, mask) for row in analysis.rows)
    return BlockResult(
        PICTURES, lora, tuple(columns), rows, analysis.noise_floor, finished=analysis.finished, notes=tuple(notes)
    )


def _row(analysis: Analysis, row: Row, mask: Image.Image | None) -> BlockRow:
    if not row.has_modules:
        return BlockRow(row.name, False, {}, say("{block} has no modules in this LoRA.", block=row.name))
    threshold = analysis.plan.options.threshold
    values = {"change": Value(row.mean, row.spread)}
    levels = [_levels(cell.image, source) for cell, source in zip(row.cells, analysis.sources, strict=False)]
    if mask is not None:
        parts = [split(one, _fitted(mask, one), threshold) for one in levels]
        values |= {key: Value.over([part[n] for part in parts]) for n, key in enumerate(("wanted", "unwanted"))}
    values["colors"] = Value.over([100 * color_share(one) for one in levels])
    return BlockRow(row.name, True, values, _said(row, values, levels, analysis.noise_floor, masked=mask is not None))


def _levels(changed: Image.Image | None, source: Image.Image) -> np.ndarray:
    """Return signed differences ``(h, w, 3)``."""
    one, two = (np.asarray((picture or source).convert("RGB"), np.float32) for picture in (changed, source))
    return one - two


def _fitted(mask: Image.Image, levels: np.ndarray) -> np.ndarray:
    """Return a mask ``(h, w)`` of a difference's size: True on the subject."""
    size = (levels.shape[1], levels.shape[0])
    return np.asarray(mask.convert("L").resize(size, Image.Resampling.BILINEAR)) > 127


def split(levels: np.ndarray, subject: np.ndarray, threshold: int) -> tuple[float, float]:
    """Return which percent of all color values change by more than the threshold on the subject, and elsewhere.

    Args:
        levels: signed differences ``(h, w, 3)``.
        subject: ``(h, w)``.
        threshold: levels of 255; strictly more counts.
    """
    over = np.abs(levels) > threshold
    wanted, unwanted = (100.0 * float(over[where].sum()) / over.size for where in (subject, ~subject))
    return wanted, unwanted


def color_share(levels: np.ndarray) -> float:
    """Return the share of a difference's energy that lies in the chroma (ITU-R BT.601), 0 to 1; NaN of none.

    A change of lightness alone, equal in all three channels, is 0.
    """
    light = levels @ np.array((0.299, 0.587, 0.114), np.float32)
    rest = levels - light[..., None]
    whole = 3 * float(np.square(light, dtype=np.float64).sum()) + float(np.square(rest, dtype=np.float64).sum())
    return float(np.square(rest, dtype=np.float64).sum()) / whole if whole else float("nan")


def in_one_place(levels: Sequence[np.ndarray]) -> bool:
    """Whether nine tenths of the change lie in at most `ONE_PLACE` of the pixels, in every picture."""
    for one in levels:
        energy = np.sort(np.square(one, dtype=np.float64).sum(axis=2).flatten())[::-1]
        if energy[: max(1, int(ONE_PLACE * energy.size))].sum() < 0.9 * energy.sum():
            return False
    return True


def _said(row: Row, values: dict[str, Value], levels: Sequence[np.ndarray], floor: float, *, masked: bool) -> str:
    if row.mean <= floor:
        return say("{block} changes nothing that noise would not change as well.", block=row.name)
    what = say("colors") if values["colors"].mean >= 100 * COLORS else say("shapes and light")
    if masked:
        wanted, whole = values["wanted"].mean, values["wanted"].mean + values["unwanted"].mean
        share = wanted / whole if whole else 0.0
        if share >= MOSTLY:
            where = say("of the subject; the background stays")
        elif share <= 1 - MOSTLY:
            where = say("of the background; the subject stays")
        else:
            where = say("of subject and background")
    else:
        where = say("in one place") if in_one_place(levels) else say("all over the picture")
    return say(
        "{block} changes mostly {what} {where} ({percent:.1f} %).",
        block=row.name,
        what=what,
        where=where,
        percent=row.mean,
    )


def draw_maps(analysis: Analysis, result: BlockResult, *, title: str) -> Image.Image:
    """Return a picture of maps, a block each: where its change falls, over the first seed's source in gray.

    Raises:
        InputError: there is no picture yet.
    """
    if not analysis.sources:
        raise InputError(
            "The analysis was stopped before its first picture", where=say("analyze"), cure="Start it again."
        )
    said = {row.block: row for row in result.rows}
    cells = [
        Cell(change_map(analysis, row), (f"{row.mean:.3f} %",), row.name) for row in analysis.rows if row.has_modules
    ]
    lines = [cells[start : start + ACROSS] for start in range(0, len(cells), ACROSS)]
    strongest = result.ranking()[:1]
    verdict = str(said[strongest[0]].said) if strongest else ""
    return draw_comparison(Comparison(title, "where the change of each block falls", verdict, lines))


def change_map(analysis: Analysis, row: Row) -> Image.Image:
    """Return the first source in gray, red where the block changes it: the mean over the seeds, the strongest full."""
    pairs = zip(row.cells, analysis.sources, strict=False)
    change = np.mean([np.abs(_levels(cell.image, source)).max(axis=2) for cell, source in pairs], axis=0)
    part = (change / max(float(change.max()), 1.0))[..., None]
    gray = np.asarray(analysis.sources[0].convert("L"), np.float32)[..., None] * 0.6 + 80
    return Image.fromarray((gray * (1 - part) + _HOT * part).clip(0, 255).astype(np.uint8))

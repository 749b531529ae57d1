"""What a merge did, as the terminal prints it: a row a block, and how far the LoRAs overlap."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora.cli.common import give, size_of

if TYPE_CHECKING:
    from lib_lora.merge.make import Made
    from lib_lora.merge.report import MergeReport

_MEANING = "cosine: 1 the same twice, 0 independent, -1 against each other"


def give_made(
    options: argparse.Namespace,
    saved: Path | None,
    made: Made,
    *,
    notes: Sequence[str] = (),
    lines: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print what a merge did.

    Args:
        options: whether as JSON.
        saved: the new file; None where nothing is written.
        made: what came out.
        notes: what was left out of the tags.
        lines: further lines for a person.
        more: further entries for a program.
    """
    from lib_lora.services import merge

    told = [*notes, *(note for _, note in made.notes)]
    after = made.report.bytes_after if saved is None else saved.stat().st_size
    result = {"file": saved, **merge.told(made), "bytes_after": after, **(more or {}), "notes": told}
    sizes = f"{size_of(made.report.bytes_before)} → {size_of(after)}"
    last = [f"{len(made.report.dropped)} modules dropped", sizes, str(saved or "nothing is written")]
    give(options, result, [*told, *lines, *block_table(made.report, _extra(made)), *_pairs(made), *last])


def give_each(options: argparse.Namespace, pairs: Sequence[tuple[Made, Path]], *, notes: Sequence[str]) -> None:
    """Print files that were made one by one."""
    from lib_lora.services import merge

    rows, lines = [], [*notes]
    for made, saved in pairs:
        told = [note for _, note in made.notes]
        rows.append({"file": saved, **merge.told(made), "notes": told})
        lines += [*told, f"{saved}  {size_of(saved.stat().st_size)}"]
    give(options, {"files": rows, "notes": list(notes)}, lines)


def block_table(report: MergeReport, extra: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
    """Return what was done as lines, one for each block under a head.

    Args:
        report: of the work.
        extra: further columns: head to block to cell.
    """
    extra = extra or {}
    heads = "".join(f" {head:>16}" for head in extra)
    table = [f"{'block':>6} {'modules':>8} {'rank':>11} {'energy kept':>12} {'error':>9}{heads}"]
    for name, row in report.by_block().items():
        ranks = f"{row['rank_before']} → {row['rank_after']}"
        more = "".join(f" {cells.get(name, '-'):>16}" for cells in extra.values())
        table.append(
            f"{name:>6} {row['modules']:>8} {ranks:>11} {row['energy_kept']:>11.2%} {row['relative_error']:>9.1e}{more}"
        )
    return table


def _extra(made: Made) -> dict[str, dict[str, str]]:
    """Return the columns that only several LoRAs have: head to block to cell."""
    columns: dict[str, dict[str, str]] = {}
    if made.removed:
        columns["cosine"] = {
            block: f"{_number(one.before)} → {_number(one.after)}" for block, one in made.removed.items()
        }
        columns["left of it"] = {block: f"{one.kept:.2%}" for block, one in made.removed.items()}
    elif len(made.overlaps) == 1:
        columns["cosine"] = {block: _number(value) for block, value in made.overlaps[0].blocks.items()}
    if made.taken:
        columns["layers of each"] = {block: " + ".join(map(str, counts)) for block, counts in made.taken.items()}
    return columns


def _pairs(made: Made) -> list[str]:
    """Return a line for every two LoRAs: the cosine of all they change, and the block where it is farthest from 0."""
    lines = []
    for one in made.overlaps:
        names = " and ".join(made.used[index][0] for index in (one.first, one.second))
        known = {block: value for block, value in one.blocks.items() if value is not None}
        most = max(known, key=lambda block: abs(known[block])) if known else ""
        where = f", most in {most}: {_number(known[most])}" if most else ""
        lines.append(f"{names}: cosine {_number(one.whole)}{where}")
    return [*lines, _MEANING] if lines else []


def _number(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 3) + 0.0:+.3f}"  # no -0.000

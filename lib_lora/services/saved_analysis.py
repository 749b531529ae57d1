"""A finished analysis as a folder that can be opened again: its grids, and one JSON file with the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib_lora.analysis.effective_block import Analysis, Cell, Row, SweepSpec
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.atomic import replace_file
from lib_lora.blocks.layouts import full_layout
from lib_lora.errors import FileError
from lib_lora.sentences import say
from lib_lora.services.analysis_order import Found

RECORD = "analysis.json"


def keep_record(found: Found, folder: Path, *, family: str) -> Path:
    """Write beside the grids of a saved analysis what `open_analysis` needs; its tiers are not kept.

    Raises:
        FileError: the disk refuses.
    """
    grids = [
        {"file": Path(path).name, "range": text, "seed": seed, "gain": gain} for path, text, seed, gain in found.grids
    ]
    analyses = [
        {
            "examined": one.plan.examined,
            "others": one.plan.others,
            "seeds": one.plan.options.seeds,
            "noise_floor": one.noise_floor,
            "rows": [[list(row.entry), row.has_modules, [cell.percentage for cell in row.cells]] for row in one.rows],
        }
        for one in found.analyses
    ]
    text = json.dumps({"family": family, "grids": grids, "analyses": analyses}, indent=1)
    return replace_file(folder / RECORD, text.encode(), what=say("The table"))


def open_analysis(folder: Path) -> Found:
    """Return the analysis of a folder; its pictures are those of the grids alone.

    Raises:
        FileError: it is none, or its record cannot be read.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        analyses = tuple(_analysis(one, record["family"]) for one in record["analyses"])
        grids = tuple((folder / one["file"], one["range"], one["seed"], one["gain"]) for one in record["grids"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            "The analysis cannot be opened: {reason}",
            reason=error,
            where=str(path),
            cure="Analyze the LoRA again.",
        ) from error
    return Found(analyses, grids, tuple(one for one, *_ in grids))


def _analysis(one: Mapping[str, Any], family: str) -> Analysis:
    rows = tuple(
        Row(tuple(entry), has_modules, tuple(Cell(None, percent) for percent in percents))
        for entry, has_modules, percents in one["rows"]
    )
    options = AnalyzeOptions(seeds=one["seeds"])
    entries = tuple(row.entry for row in rows)
    plan = SweepSpec(one["examined"], one["others"], entries, full_layout(family), options)
    return Analysis(plan, (), one["noise_floor"], rows, finished=True)

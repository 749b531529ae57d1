"""Writes a report as one self-contained HTML page: no script, no other file, no network, light and dark."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from .errors import FileError
from .report_page import render_page
from .report_sections import (
    BlockBars,
    Cell,
    Commands,
    Curve,
    Goal,
    Goals,
    Grid,
    Language,
    PictureRow,
    Pictures,
    Report,
    Section,
    Series,
    Table,
)

__all__ = [
    "BlockBars",
    "Cell",
    "Commands",
    "Curve",
    "Goal",
    "Goals",
    "Grid",
    "Language",
    "PictureRow",
    "Pictures",
    "Report",
    "Section",
    "Series",
    "Table",
    "render_page",
    "write_report",
]


def write_report(report: Report, path: Path | str) -> Path:
    """Writes the page to `path` (its folder is made) and returns the path.

    An existing page is replaced in one step, so a reader sees the old page or the new one, never half of one.
    FileError when a picture cannot be read or the page cannot be written; the old page is then still there.
    """
    target = Path(path)
    page = render_page(report).encode("utf-8")
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise FileError(
            f"the report cannot be written ({reason})",
            where=str(target),
            cure="Choose a folder that you may write to and that has space left.",
        ) from error
    return target
